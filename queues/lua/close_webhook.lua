-- An announcement is done with: delivered, no longer true, or buried, which its holder alone may do.
-- KEYS webhooks, run, dead, dead letters
-- ARGV entry, version, holder, id of the dead letter, dead letter ('' = none)
-- -> 'closed' | 'held' (it is another's now, and may be delivered yet) | 'gone' (a repeat)
if ARGV[5] ~= '' and redis.call('HGET', KEYS[2], 'webhook_holder:' .. ARGV[2]) ~= ARGV[3] then return 'held' end
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 'gone' end
redis.call('HDEL', KEYS[2], 'webhook_tries:' .. ARGV[2], 'webhook_holder:' .. ARGV[2])
if ARGV[5] ~= '' then bury(KEYS[3], KEYS[4], ARGV[4], ARGV[5]) end
return 'closed'
