-- Save and let go of a run that waits for answers. If they came in meanwhile, send the continuation at once: the hints
-- sent while the run was still held went unheard.
-- KEYS run, events, due, agents queue, deadlines, webhooks, their wake-up, states
-- ARGV epoch, version, snapshot, its log, step, waiting list ('keep' = as before), parts, repush ms, run_id,
--      continuation message, how long people may take ms ('' = the run waits for no person), event, ...
-- -> {'saved', version, ''} | {'cancelled', version, reason} (nothing is written: its end was asked for) | {'stale'}
if is_fenced_off(KEYS[1], ARGV[1], ARGV[2]) then return turned_away(KEYS[1], ARGV[1], ARGV[2], ARGV[3], 'PAUSED') end
-- Once it is let go of, nobody would think of it: its calls would execute, and its people be waited for.
local reason = redis.call('HGET', KEYS[1], 'cancel_reason')
if reason then return {'cancelled', ARGV[2], reason} end
local version = write_down(KEYS[1], KEYS[2], ARGV[3], ARGV[4], ARGV[5], 12)
if ARGV[6] ~= 'keep' then hand_out(KEYS[1], ARGV[6], ARGV[7], ARGV[8]) end
set_status(KEYS[1], KEYS[8], 'PAUSED')
redis.call('HDEL', KEYS[1], 'owner', 'lease_until', 'told')
-- They may all have answered while the run was still held.
local is_for_people = ARGV[11] ~= '' and needs_somebody(KEYS[1])
if is_for_people then
    local until_ms, deadline = now_ms() + ARGV[11], redis.call('HGET', KEYS[1], 'deadline')
    redis.call('ZADD', KEYS[5], math.min(until_ms, tonumber(deadline or until_ms)), ARGV[9])
end
if all_answers(KEYS[1]) then
    redis.call('LPUSH', KEYS[4], ARGV[10])
    redis.call('ZADD', KEYS[3], now_ms() + ARGV[8], ARGV[9])
else
    redis.call('ZREM', KEYS[3], ARGV[9])
    pack(KEYS[2])
    if is_for_people then announce(KEYS[1], KEYS[6], KEYS[7], ARGV[9], version, 'PAUSED') end
end
return {'saved', version, ''}
