-- Take out of the indexes what Redis has let go of, a bounded number at a time.
-- KEYS expiring, runs index, dead, dead letters, webhooks, states
-- ARGV retention of dead letters ms, limit
-- -> number of entries taken out
local now, taken = now_ms(), 0
for _, run_id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
    redis.call('ZREM', KEYS[1], run_id)
    redis.call('ZREM', KEYS[2], run_id)
    taken = taken + 1
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[1], 'LIMIT', 0, ARGV[2])) do
    redis.call('ZREM', KEYS[3], id)
    redis.call('HDEL', KEYS[4], id)
    taken = taken + 1
end
-- Where every run has ended, none is pending, running or paused, whatever workers of releases that count none have done.
if redis.call('ZCARD', KEYS[1]) == redis.call('ZCARD', KEYS[2]) then
    redis.call('HDEL', KEYS[6], 'PENDING', 'RUNNING', 'PAUSED')
end
-- An announcement that no gateway has looked at for so long is of a run that is gone.
return taken + redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - ARGV[1])
