-- The sweep's look at one call: publish it again if nobody took it, settle it as expired if nobody took it in time, or as
-- lost if its worker died; one that had not begun, or may be repeated, goes back to its queue, unless it has killed too
-- many workers.
-- KEYS part, pool due, part events, agents queue, pool queue, deadlines, dead, dead letters
-- ARGV call id, due member, message, repush ms, continuation's due member, run_id, how long an operator may take ms,
--      id of the dead letter, dead letter, answer 'lost', event 'lost', answer 'expired', event 'expired',
--      continuation, events retention ms, whether the run waits for this call ('' = no), until when this look may judge ms
-- -> 'pushed' | 'backlog' | 'held' | 'lost' | 'expired' | 'buried' | 'gone' | 'late'
local held = redis.call('HMGET', KEYS[1], 'state:' .. ARGV[1], 'lease:' .. ARGV[1], 'attempts:' .. ARGV[1], 'request:' .. ARGV[1],
                        'cancelled', 'queue_until:' .. ARGV[1], 'deaths:' .. ARGV[1])
local state, now = held[1], now_ms()

local function settle_as(answer, event)
    tell(KEYS[3], event, ARGV[15])
    redis.call('ZREM', KEYS[2], ARGV[2])
    local verdict = settle(KEYS[1], ARGV[1], answer, KEYS[4], ARGV[14])
    if verdict == 'last' then redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[5]) end
end

local is_held = state == 'claimed' or state == 'executing'
if state ~= 'queued' and not is_held or held[5] and state == 'queued' then
    redis.call('ZREM', KEYS[2], ARGV[2])
    return 'gone'
end
if state == 'queued' and held[6] and tonumber(held[6]) <= now then
    settle_as(ARGV[12], ARGV[13])
    return 'expired'
end
if is_held then
    if tonumber(held[2]) > now then
        redis.call('ZADD', KEYS[2], held[2], ARGV[2])
        return 'held'
    end
    if now > tonumber(ARGV[17]) then return 'late' end
    local request = cjson.decode(held[4])
    local may_repeat = request.on_lost == 'retry' and tonumber(held[3] or 0) < (request.max_attempts or 1)
    -- For a lone call somebody waits, who cannot wait until it is dug up.
    local is_hopeless = is_poisonous(held[7]) and is_lone(KEYS[1])
    if held[5] or state == 'executing' and not may_repeat or is_hopeless then
        settle_as(ARGV[10], ARGV[11])
        return 'lost'
    end
    if is_poisonous(held[7]) then
        -- Written by the pool alone: it buries nothing in the name of a run that asked for nothing.
        if ARGV[16] == '' then
            redis.call('ZREM', KEYS[2], ARGV[2])
            return 'gone'
        end
        redis.call('HSET', KEYS[1], 'state:' .. ARGV[1], 'buried')
        redis.call('ZREM', KEYS[2], ARGV[2])
        redis.call('ZADD', KEYS[6], 'LT', now + ARGV[7], ARGV[6])
        bury(KEYS[7], KEYS[8], ARGV[8], ARGV[9])
        return 'buried'
    end
    redis.call('HINCRBY', KEYS[1], 'deaths:' .. ARGV[1], 1)
    redis.call('HSET', KEYS[1], 'state:' .. ARGV[1], 'queued')
    -- Its next attempt waits from here on; one that had not begun has waited all the while.
    if state == 'executing' then redis.call('HSET', KEYS[1], 'queued:' .. ARGV[1], now) end
end
local must_publish, delay = look_again(KEYS[1], 'looks:' .. ARGV[1], KEYS[5], ARGV[4])
redis.call('ZADD', KEYS[2], now + delay, ARGV[2])
-- A dead worker's message, or that of an attempt that is due, is in no queue.
if state == 'queued' and redis.call('HDEL', KEYS[1], 'not_before:' .. ARGV[1]) == 0 and not must_publish then
    return 'backlog'
end
redis.call('LPUSH', KEYS[5], ARGV[3])
return 'pushed'
