-- Take the right to execute a call; its execution begins with begin_call.
-- KEYS part, pool due
-- ARGV call id, due member, owner (another one for each claim: a repeat is answered as the first time), lease ms
-- -> {'claimed', epoch, request, queued seconds ago, agent, lane} | {'held' | 'backing_off' | 'settled' | 'buried' | 'cancelled' | 'missing'}
local state = redis.call('HGET', KEYS[1], 'state:' .. ARGV[1])
if not state then return {'missing'} end
if state == 'settled' or state == 'buried' then return {state} end
if redis.call('HEXISTS', KEYS[1], 'cancelled') == 1 then
    redis.call('ZREM', KEYS[2], ARGV[2])
    return {'cancelled'}
end
local now = now_ms()
local function claimed(epoch)
    local kept = redis.call('HMGET', KEYS[1], 'request:' .. ARGV[1], 'queued:' .. ARGV[1], 'agent', 'lane')
    return {'claimed', tostring(epoch), kept[1], tostring((now - kept[2]) / 1000), kept[3] or '', kept[4] or 'normal'}
end
if state == 'claimed' and redis.call('HGET', KEYS[1], 'owner:' .. ARGV[1]) == ARGV[3] then
    return claimed(redis.call('HGET', KEYS[1], 'epoch:' .. ARGV[1]))
end
if state ~= 'queued' then return {'held'} end
local not_before = redis.call('HGET', KEYS[1], 'not_before:' .. ARGV[1])
if not_before and tonumber(not_before) > now then return {'backing_off'} end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch:' .. ARGV[1], 1)
redis.call('HSET', KEYS[1], 'state:' .. ARGV[1], 'claimed', 'owner:' .. ARGV[1], ARGV[3], 'lease:' .. ARGV[1], now + ARGV[4])
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[2])
return claimed(epoch)
