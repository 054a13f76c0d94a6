-- Hand out a call that belongs to no run. Its part names no agent, and goes by itself once nobody can wait for it any more.
-- KEYS part, pool due, pool queue
-- ARGV part as `hand_out` knows it, repush ms, how long the part is kept ms
-- -> 'handed out'
-- The id was made for this call alone: what is there is this very write, whose answer was lost on the way.
if redis.call('EXISTS', KEYS[1]) == 1 then return 'handed out' end
local part = cjson.decode(ARGV[1])
open_part(part)
for _, call in ipairs(part.calls) do hand_out_call(part, call, now_ms(), ARGV[2]) end
redis.call('HSET', KEYS[1], 'outstanding', #part.calls)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'handed out'
