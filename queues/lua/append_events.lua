-- Tell the readers of a run what its holder does; a holder that lost the run tells nothing any more.
-- KEYS run, events
-- ARGV epoch, event, ...
-- -> number of events written
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
for i = 2, #ARGV do redis.call('XADD', KEYS[2], '*', 'event', ARGV[i]) end
return #ARGV - 1
