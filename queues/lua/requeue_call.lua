-- Dig a buried call up: it goes back to its queue with its deaths forgotten.
-- KEYS part, pool due, pool queue, dead, dead letters
-- ARGV call id, due member, message, repush ms, id of the dead letter
-- -> 'requeued' | 'gone' (its run has ended meanwhile, or it was requeued before)
redis.call('ZREM', KEYS[4], ARGV[5])
redis.call('HDEL', KEYS[5], ARGV[5])
if redis.call('HGET', KEYS[1], 'state:' .. ARGV[1]) ~= 'buried' or redis.call('HEXISTS', KEYS[1], 'cancelled') == 1 then
    return 'gone'
end
redis.call('HSET', KEYS[1], 'state:' .. ARGV[1], 'queued', 'queued:' .. ARGV[1], now_ms())
redis.call('HDEL', KEYS[1], 'deaths:' .. ARGV[1], 'looks:' .. ARGV[1])
redis.call('LPUSH', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[2], now_ms() + ARGV[4], ARGV[2])
return 'requeued'
