-- Write a run's end; from here on it is only kept for its retention.
-- KEYS run, events, due, session
-- ARGV epoch, version, snapshot, step, run_id, status, retention ms, session_id or '', event, ...
-- -> {'saved', version, ''} | {'stale'}
if is_fenced_off(KEYS[1], ARGV[1], ARGV[2]) then return {'stale'} end
local version = write_down(KEYS[1], KEYS[2], ARGV[3], ARGV[4], 9)
redis.call('HSET', KEYS[1], 'status', ARGV[6])
redis.call('HDEL', KEYS[1], 'owner', 'lease_until', 'cancel_reason')
redis.call('ZREM', KEYS[3], ARGV[5])
retire_parts(KEYS[1], ARGV[7], true)
redis.call('PEXPIRE', KEYS[1], ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
if ARGV[8] ~= '' and ARGV[6] == 'COMPLETED' then
    redis.call('ZADD', KEYS[4], now_ms(), ARGV[5])
    redis.call('PEXPIRE', KEYS[4], ARGV[7])
end
return {'saved', version, ''}
