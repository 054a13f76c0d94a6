-- Write a call's answer; the first one counts, and the last one of the part sends the continuation.
-- KEYS part, pool due, part events, agents queue
-- ARGV call id, epoch, due member, answer, event, continuation's due member, repush ms, retry ms (0 = final), continuation,
--      events retention ms, number of the first output, output event, ...
-- -> 'settled' | 'last' | 'retry' | 'already' | 'stale' | 'missing'
local state = redis.call('HGET', KEYS[1], 'state:' .. ARGV[1])
if not state then return 'missing' end
if state == 'settled' then
    -- The very same answer again: the first time, the reply to it was lost on the way.
    if redis.call('HGET', KEYS[1], 'answer:' .. ARGV[1]) == ARGV[4] then return 'settled' end
    redis.call('HINCRBY', KEYS[1], 'refused', 1)
    return 'already'
end
-- So it is with an answer that is tried again, as long as its backoff lasts.
if state == 'queued' and tonumber(ARGV[8]) > 0 and redis.call('HGET', KEYS[1], 'epoch:' .. ARGV[1]) == ARGV[2]
    and redis.call('HEXISTS', KEYS[1], 'not_before:' .. ARGV[1]) == 1 then
    return 'retry'
end
if not holds_call(state, redis.call('HGET', KEYS[1], 'epoch:' .. ARGV[1]), ARGV[2]) then
    redis.call('HINCRBY', KEYS[1], 'refused', 1)
    return 'stale'
end
tell_output(KEYS[1], KEYS[3], ARGV[1], ARGV[2], ARGV[10], 11)
tell(KEYS[3], ARGV[5], ARGV[10])
if tonumber(ARGV[8]) > 0 then
    local due = now_ms() + ARGV[8]
    -- Each attempt waits in the queue for itself, and not while it backs off.
    redis.call('HSET', KEYS[1], 'state:' .. ARGV[1], 'queued', 'not_before:' .. ARGV[1], due, 'queued:' .. ARGV[1], due)
    redis.call('ZADD', KEYS[2], due, ARGV[3])
    return 'retry'
end
redis.call('ZREM', KEYS[2], ARGV[3])
local verdict = settle(KEYS[1], ARGV[1], ARGV[4], KEYS[4], ARGV[9])
if verdict == 'last' then redis.call('ZADD', KEYS[2], now_ms() + ARGV[7], ARGV[6]) end
return verdict
