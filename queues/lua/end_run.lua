-- End a run from outside: cancelled, expired or buried. One that is held is only marked: its holder ends it at its next
-- heartbeat or save.
-- KEYS run, events, due, deadlines, expiring, dead, dead letters, webhooks, their wake-up, states
-- ARGV version, final snapshot, its log, run_id, status, reason, retention ms,
--      '1' if its calls are cancelled too, dead letter ('' = none), event
-- -> 'ended' | 'requested' | 'finished' | 'missing' | 'changed' (read the snapshot again)
local held = redis.call('HMGET', KEYS[1], 'status', 'version', 'lease_until')
if not held[1] then return 'missing' end
if is_finished(held[1]) then return 'finished' end
if held[1] == 'RUNNING' and tonumber(held[3]) > now_ms() then
    redis.call('HSET', KEYS[1], 'cancel_reason', ARGV[6])
    for _, part in ipairs(waiting_parts(KEYS[1])) do redis.pcall('HSET', part.key, 'cancelled', 1) end
    return 'requested'
end
if held[2] ~= ARGV[1] then return 'changed' end
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
write_snapshot(KEYS[1], ARGV[2], ARGV[3])
set_status(KEYS[1], KEYS[10], ARGV[5])
redis.call('XADD', KEYS[2], '*', 'event', ARGV[10])
retire_parts(KEYS[1], ARGV[7], ARGV[8] == '1')
let_go(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[4], ARGV[7])
announce(KEYS[1], KEYS[8], KEYS[9], ARGV[4], version, ARGV[5])
if ARGV[9] ~= '' then bury(KEYS[6], KEYS[7], ARGV[4], ARGV[9]) end
return 'ended'
