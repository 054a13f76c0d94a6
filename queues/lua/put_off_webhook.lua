-- Deliver an announcement later: by its holder, after a try that failed, or untried, if nobody holds it.
-- KEYS webhooks, run
-- ARGV entry, version, holder ('' = it was not tried), delay ms
-- -> 'later' | 'held' (by another) | 'gone' (delivered meanwhile)
local due, now = redis.call('ZSCORE', KEYS[1], ARGV[1]), now_ms()
if not due then return 'gone' end
if ARGV[3] == '' then
    if tonumber(due) > now then return 'held' end
elseif redis.call('HGET', KEYS[2], 'webhook_holder:' .. ARGV[2]) ~= ARGV[3] then
    return 'held'
end
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[1])
return 'later'
