-- Tell readers what a call writes while it is executed; whoever holds it no longer tells nothing any more.
-- KEYS part, part events
-- ARGV call id, epoch, events retention ms, number of the first output, output event, ...
-- -> 'told' | 'lost'
local held = redis.call('HMGET', KEYS[1], 'state:' .. ARGV[1], 'epoch:' .. ARGV[1])
if not holds_call(held[1], held[2], ARGV[2]) then return 'lost' end
return tell_output(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], 4) or 'told'
