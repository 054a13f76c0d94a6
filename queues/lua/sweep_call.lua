-- The sweep's look at one call: publish it again if nobody took it, settle it as lost if its worker died.
-- KEYS part, pool due, part events, agents queue, pool queue
-- ARGV call id, due member, message, answer 'lost', event 'lost', continuation's due member, repush ms
-- -> 'pushed' | 'held' | 'lost' | 'gone'
local held = redis.call('HMGET', KEYS[1], 'state:' .. ARGV[1], 'lease:' .. ARGV[1], 'epoch:' .. ARGV[1], 'request:' .. ARGV[1],
                        'cancelled')
local now = now_ms()
if not held[1] or held[1] == 'settled' or (held[5] and held[1] == 'queued') then
    redis.call('ZREM', KEYS[2], ARGV[2])
    return 'gone'
end
if held[1] == 'executing' then
    if tonumber(held[2]) > now then
        redis.call('ZADD', KEYS[2], held[2], ARGV[2])
        return 'held'
    end
    local request = cjson.decode(held[4])
    if request.on_lost ~= 'retry' or tonumber(held[3]) >= request.max_attempts then
        redis.call('XADD', KEYS[3], '*', 'event', ARGV[5])
        redis.call('ZREM', KEYS[2], ARGV[2])
        if settle(KEYS[1], ARGV[1], ARGV[4], KEYS[4]) == 'last' then redis.call('ZADD', KEYS[2], now + ARGV[7], ARGV[6]) end
        return 'lost'
    end
    redis.call('HSET', KEYS[1], 'state:' .. ARGV[1], 'queued')
end
redis.call('LPUSH', KEYS[5], ARGV[3])
redis.call('ZADD', KEYS[2], now + repush_delay(KEYS[1], 'pushes:' .. ARGV[1], ARGV[7]), ARGV[2])
return 'pushed'
