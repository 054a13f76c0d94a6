-- The sweep's look at one run: publish the start or continuation again if nobody acted on it.
-- KEYS run, due, agents queue
-- ARGV run_id, message, repush ms
-- -> 'pushed' | 'held' | 'waiting' | 'gone' | 'poisonous' (its holders died too often: bury it)
local held = redis.call('HMGET', KEYS[1], 'status', 'lease_until', 'deaths')
if not held[1] or is_finished(held[1]) then
    redis.call('ZREM', KEYS[2], ARGV[1])
    return 'gone'
end
if held[1] == 'RUNNING' and tonumber(held[2]) > now_ms() then
    redis.call('ZADD', KEYS[2], held[2], ARGV[1])
    return 'held'
end
if held[1] == 'RUNNING' and is_poisonous(held[3]) then return 'poisonous' end
if held[1] == 'PAUSED' and not all_answers(KEYS[1]) then
    redis.call('ZREM', KEYS[2], ARGV[1])
    return 'waiting'
end
redis.call('LPUSH', KEYS[3], ARGV[2])
redis.call('ZADD', KEYS[2], now_ms() + repush_delay(KEYS[1], 'repushes', ARGV[3]), ARGV[1])
return 'pushed'
