-- A person's answer to a call that no pool executes; the first one counts, the last one of the step sends the continuation.
-- KEYS people's part, due, agents queue
-- ARGV call id, answer, run_id, repush ms, continuation
-- -> 'settled' | 'last' | 'already' | 'missing'
local state = redis.call('HGET', KEYS[1], 'state:' .. ARGV[1])
if not state then return 'missing' end
if state == 'settled' then return 'already' end
local verdict = settle(KEYS[1], ARGV[1], ARGV[2], KEYS[3], ARGV[5])
if verdict == 'last' then redis.call('ZADD', KEYS[2], now_ms() + ARGV[4], ARGV[3]) end
return verdict
