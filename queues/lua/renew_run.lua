-- Heartbeat of a run's holder.
-- KEYS run, due
-- ARGV run_id, epoch, lease ms
-- -> 'held' | 'cancelled' (held, but its cancellation was asked for) | 'lost'
local held = redis.call('HMGET', KEYS[1], 'epoch', 'status', 'cancel_reason')
if held[1] ~= ARGV[2] or held[2] ~= 'RUNNING' then return 'lost' end
local lease_until = now_ms() + ARGV[3]
redis.call('HSET', KEYS[1], 'lease_until', lease_until)
redis.call('ZADD', KEYS[2], lease_until, ARGV[1])
return held[3] and 'cancelled' or 'held'
