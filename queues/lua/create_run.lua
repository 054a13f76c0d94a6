-- Store a run and publish its start; a known idempotency key, or a run that is there already, stores nothing.
-- KEYS run, runs index, due, agents queue, announced agents, idempotency key, deadlines, states
-- ARGV run_id, agent, lane, snapshot, message, fingerprint ('' = no idempotency key), retention ms, repush ms,
--      deadline ms from now ('' = none), URL of its webhook ('' = none)
-- -> {'created'} | {'repeated', run_id} | {'conflict', run_id} | {'unknown_agent', name, ...}
local now = now_ms()
if ARGV[6] ~= '' then
    local known = redis.call('HMGET', KEYS[6], 'run_id', 'fingerprint')
    -- What is there is written down once more, unchanged: a producer that waits for a replica or for the disk waits for
    -- what its own connection wrote, and would be told at once that nothing had to be waited for.
    if known[1] then
        redis.call('HSET', KEYS[6], 'run_id', known[1])
        return {known[2] == ARGV[6] and 'repeated' or 'conflict', known[1]}
    end
end
-- The id was made for this run alone: what is there is this very write, whose answer was lost on the way.
if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('HINCRBY', KEYS[1], 'epoch', 0)
    return {'created'}
end
local announced, names = redis.call('HGETALL', KEYS[5]), {'unknown_agent'}
for i = 1, #announced, 2 do
    if tonumber(announced[i + 1]) > now then names[#names + 1] = announced[i] end
    if announced[i] == ARGV[2] then names = {} break end
end
if #names > 1 then return names end
redis.call('HSET', KEYS[1], 'snapshot', ARGV[4], 'version', 1, 'agent', ARGV[2], 'lane', ARGV[3], 'epoch', 0,
           'created', now)
set_status(KEYS[1], KEYS[8], 'PENDING')
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZADD', KEYS[3], now + ARGV[8], ARGV[1])
if ARGV[9] ~= '' then
    redis.call('HSET', KEYS[1], 'deadline', now + ARGV[9])
    redis.call('ZADD', KEYS[7], now + ARGV[9], ARGV[1])
end
if ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'webhook', ARGV[10]) end
if ARGV[6] ~= '' then
    redis.call('HSET', KEYS[6], 'run_id', ARGV[1], 'fingerprint', ARGV[6])
    redis.call('PEXPIRE', KEYS[6], ARGV[7])
end
redis.call('LPUSH', KEYS[4], ARGV[5])
return {'created'}
