-- Nobody waits any more for a call that belongs to no run: the answer that came all the same, or its cancellation, also
-- where it is being executed. What is left of it goes a while later.
-- KEYS part, pool due, part events
-- ARGV call id, due member, how long until what is left goes ms: once it is answered, once it is cancelled
-- -> {'answered', answer} | {'cancelled'} | {'missing'}
local held = redis.call('HMGET', KEYS[1], 'state:' .. ARGV[1], 'answer:' .. ARGV[1])
if not held[1] then return {'missing'} end
redis.call('PEXPIRE', KEYS[1], held[2] and ARGV[3] or ARGV[4])
redis.call('PEXPIRE', KEYS[3], held[2] and ARGV[3] or ARGV[4])
if held[2] then return {'answered', held[2]} end
redis.call('HSET', KEYS[1], 'cancelled', 1)
-- Its worker, or that worker's death, is still to be heard of.
if held[1] == 'queued' then redis.call('ZREM', KEYS[2], ARGV[2]) end
return {'cancelled'}
