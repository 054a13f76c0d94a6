-- Heartbeat of a call's holder.
-- KEYS part, pool due
-- ARGV call id, epoch, due member, lease ms
-- -> 'held' | 'cancelled' | 'lost'
local held = redis.call('HMGET', KEYS[1], 'state:' .. ARGV[1], 'epoch:' .. ARGV[1], 'cancelled')
if not holds_call(held[1], held[2], ARGV[2]) then return 'lost' end
local lease_until = now_ms() + ARGV[4]
redis.call('HSET', KEYS[1], 'lease:' .. ARGV[1], lease_until)
redis.call('ZADD', KEYS[2], lease_until, ARGV[3])
return held[3] and 'cancelled' or 'held'
