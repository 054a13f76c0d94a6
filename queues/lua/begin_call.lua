-- From here on the call may have taken effect: if its worker dies now, its outcome is unknown.
-- KEYS part, part events, pool due
-- ARGV call id, epoch, event template, events retention ms, due member
-- -> {'begun', attempt} | {'cancelled'} (it did not begin, and nobody need look at it any more) | {'lost'}
local held = redis.call('HMGET', KEYS[1], 'state:' .. ARGV[1], 'epoch:' .. ARGV[1], 'cancelled')
if held[3] and held[1] == 'queued' and held[2] == ARGV[2] then return {'cancelled'} end -- the same holder again
if not holds_call(held[1], held[2], ARGV[2]) then return {'lost'} end
if held[3] then
    if held[1] == 'executing' then redis.call('HINCRBY', KEYS[1], 'attempts:' .. ARGV[1], -1) end
    redis.call('HSET', KEYS[1], 'state:' .. ARGV[1], 'queued')
    redis.call('HDEL', KEYS[1], 'lease:' .. ARGV[1])
    redis.call('ZREM', KEYS[3], ARGV[5])
    return {'cancelled'}
end
-- The same holder again: the answer was lost on the way.
if held[1] == 'executing' then return {'begun', redis.call('HGET', KEYS[1], 'attempts:' .. ARGV[1])} end
local attempt = redis.call('HINCRBY', KEYS[1], 'attempts:' .. ARGV[1], 1)
redis.call('HSET', KEYS[1], 'state:' .. ARGV[1], 'executing')
local event = cjson.decode(ARGV[3])
event.attempt = attempt
tell(KEYS[2], cjson.encode(event), ARGV[4])
return {'begun', tostring(attempt)}
