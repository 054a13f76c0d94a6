-- Let go of a run before its lease runs out, and offer it to another worker at once; its holder is leaving, not dying.
-- KEYS run, due, agents queue, states
-- ARGV run_id, epoch, message, repush ms
-- -> 'released' | 'gone' (the holder has no longer held it)
local held = redis.call('HMGET', KEYS[1], 'status', 'epoch', 'snapshot')
if held[1] ~= 'RUNNING' or held[2] ~= ARGV[2] then return 'gone' end
unclaim(KEYS[1], KEYS[4], held[3])
redis.call('LPUSH', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[2], now_ms() + ARGV[4], ARGV[1])
return 'released'
