-- Write a run's end; from here on it is only kept for its retention.
-- KEYS run, events, due, deadlines, expiring, session, webhooks, their wake-up, states
-- ARGV epoch, version, snapshot, its log, step, run_id, status, retention ms, session_id or '', event, ...
-- -> {'saved', version, ''} | {'stale'}
if is_fenced_off(KEYS[1], ARGV[1], ARGV[2]) then return turned_away(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[7]) end
local version = write_down(KEYS[1], KEYS[2], ARGV[3], ARGV[4], ARGV[5], 10)
set_status(KEYS[1], KEYS[9], ARGV[7])
retire_parts(KEYS[1], ARGV[8], true)
let_go(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[6], ARGV[8])
announce(KEYS[1], KEYS[7], KEYS[8], ARGV[6], version, ARGV[7])
if ARGV[9] ~= '' and ARGV[7] == 'COMPLETED' then
    local now = now_ms()
    redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now - ARGV[8])
    redis.call('ZADD', KEYS[6], now, ARGV[6])
    redis.call('PEXPIRE', KEYS[6], ARGV[8])
end
return {'saved', version, ''}
