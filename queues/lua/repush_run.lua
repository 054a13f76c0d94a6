-- The sweep's look at one run: publish the start or continuation again if nobody acted on it.
-- KEYS run, due, agents queue, pool due
-- ARGV run_id, message, repush ms, entry of the pool's due set that led here ('' = none), until when this look may judge ms
-- -> 'pushed' | 'backlog' | 'held' | 'waiting' | 'gone' | 'late' | 'poisonous' (its holders died too often: bury it)
local held = redis.call('HMGET', KEYS[1], 'status', 'lease_until', 'deaths')
-- In the same step: a sweep that died between the two would leave the run in nobody's sight.
if ARGV[4] ~= '' then redis.call('ZREM', KEYS[4], ARGV[4]) end
if not held[1] or is_finished(held[1]) then
    redis.call('ZREM', KEYS[2], ARGV[1])
    return 'gone'
end
if held[1] == 'RUNNING' and not held[2] then
    redis.call('ZREM', KEYS[2], ARGV[1])
    return 'held' -- by a plain process, which is none of the queue's
end
if held[1] == 'RUNNING' and tonumber(held[2]) > now_ms() then
    redis.call('ZADD', KEYS[2], held[2], ARGV[1])
    return 'held'
end
if held[1] == 'RUNNING' and now_ms() > tonumber(ARGV[5]) then
    redis.call('ZADD', KEYS[2], 'NX', now_ms(), ARGV[1])
    return 'late'
end
if held[1] == 'RUNNING' and is_poisonous(held[3]) then return 'poisonous' end
if held[1] == 'PAUSED' and not all_answers(KEYS[1]) then
    redis.call('ZREM', KEYS[2], ARGV[1])
    return 'waiting'
end
local must_publish, delay = look_again(KEYS[1], 'repushes', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[2], now_ms() + delay, ARGV[1])
-- A dead holder's message is gone: nothing notes it.
if not must_publish and held[1] ~= 'RUNNING' then return 'backlog' end
redis.call('LPUSH', KEYS[3], ARGV[2])
return 'pushed'
