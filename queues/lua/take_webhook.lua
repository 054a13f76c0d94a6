-- Take the right to deliver an announcement for a while, and count the try.
-- KEYS webhooks, run
-- ARGV entry, version, holder (another one for each take: a repeat is answered as the first time), lease ms
-- -> {'taken', number of this try} | {'held'} (by another, or it is not due) | {'gone'} (delivered, or its run is gone)
local due, now = redis.call('ZSCORE', KEYS[1], ARGV[1]), now_ms()
if not due then return {'gone'} end
if redis.call('HEXISTS', KEYS[2], 'webhook') == 0 then
    redis.call('ZREM', KEYS[1], ARGV[1])
    return {'gone'}
end
local tries, holder = 'webhook_tries:' .. ARGV[2], 'webhook_holder:' .. ARGV[2]
if redis.call('HGET', KEYS[2], holder) ~= ARGV[3] then
    if tonumber(due) > now then return {'held'} end
    redis.call('HSET', KEYS[2], holder, ARGV[3])
    redis.call('HINCRBY', KEYS[2], tries, 1)
    redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[1])
end
return {'taken', redis.call('HGET', KEYS[2], tries)}
