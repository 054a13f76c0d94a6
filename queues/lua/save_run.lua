-- Compare-and-set of a run that is carried on in a plain process, without the queue.
-- KEYS run, runs index, session, expiring, states
-- ARGV run_id, expected version, snapshot, its log, status, agent, retention ms, session_id ('' = none)
-- -> 1 saved | 0 another version is stored
local stored = redis.call('HGET', KEYS[1], 'version') or '0'
if stored ~= ARGV[2] then return 0 end
local now = now_ms()
write_snapshot(KEYS[1], ARGV[3], ARGV[4])
redis.call('HSET', KEYS[1], 'version', ARGV[2] + 1, 'agent', ARGV[6])
set_status(KEYS[1], KEYS[5], ARGV[5])
redis.call('ZADD', KEYS[2], 'NX', now, ARGV[1])
if is_finished(ARGV[5]) then
    redis.call('HDEL', KEYS[1], 'cancel_reason')
    redis.call('PEXPIRE', KEYS[1], ARGV[7])
    redis.call('ZADD', KEYS[4], now + ARGV[7], ARGV[1])
else
    redis.call('PERSIST', KEYS[1])
    redis.call('ZREM', KEYS[4], ARGV[1])
end
if ARGV[5] == 'COMPLETED' and ARGV[8] ~= '' then
    redis.call('ZADD', KEYS[3], now, ARGV[1])
    redis.call('PEXPIRE', KEYS[3], ARGV[7])
end
return 1
