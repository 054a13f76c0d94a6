-- Give a call back that was not executed, as its holder says: it goes back to the head of its queue, and the attempt does
-- not count.
-- KEYS part, pool due, pool queue
-- ARGV call id, epoch, due member, message, repush ms
-- -> 'released' | 'cancelled' (nobody wants it any more) | 'lost' (it is not the caller's to give)
local held = redis.call('HMGET', KEYS[1], 'state:' .. ARGV[1], 'epoch:' .. ARGV[1], 'cancelled')
-- The same holder again: the answer was lost on the way.
if held[1] == 'queued' and held[2] == ARGV[2] then return 'released' end
if not holds_call(held[1], held[2], ARGV[2]) then return 'lost' end
if held[1] == 'executing' then redis.call('HINCRBY', KEYS[1], 'attempts:' .. ARGV[1], -1) end
redis.call('HSET', KEYS[1], 'state:' .. ARGV[1], 'queued')
redis.call('HDEL', KEYS[1], 'lease:' .. ARGV[1])
if held[3] then
    redis.call('ZREM', KEYS[2], ARGV[3])
    return 'cancelled'
end
redis.call('RPUSH', KEYS[3], ARGV[4])
redis.call('ZADD', KEYS[2], now_ms() + ARGV[5], ARGV[3])
return 'released'
