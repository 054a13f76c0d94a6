-- Tell the readers of a run what its holder does between two saves; one that lost the run tells nothing any more.
-- KEYS run, events
-- ARGV epoch, number (of this telling; they grow within a claim, and each is repeated until it is answered), event, ...
-- -> number of events written; none if this was told before, and only the answer was lost on the way | -1 (lost)
local held = redis.call('HMGET', KEYS[1], 'epoch', 'status', 'told')
if held[1] ~= ARGV[1] or held[2] ~= 'RUNNING' then return -1 end
local by, told = string.match(held[3] or '', '^(%d+):(%d+)$')
if by == ARGV[1] and tonumber(told) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'told', ARGV[1] .. ':' .. ARGV[2])
for i = 3, #ARGV do redis.call('XADD', KEYS[2], '*', 'event', ARGV[i]) end
return #ARGV - 2
