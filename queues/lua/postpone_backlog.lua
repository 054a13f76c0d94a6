-- The sweep's look at all calls at once of which a glance is enough: they wait in their pool's queue behind others, and
-- nothing is to be done about them. What is left due wants a look of its own.
-- KEYS pool due
-- ARGV limit, repush ms, beginning of the pool's parts, the pool's queue
-- -> number of entries postponed
local now, postponed, lengths = now_ms(), 0, {}

local function has_others(queue)
    lengths[queue] = lengths[queue] or redis.pcall('LLEN', queue)
    return type(lengths[queue]) == 'number' and lengths[queue] > 0
end

-- The part of an entry and the id of its call, nil for what is no call: a pool may write anything there.
local function place(entry)
    local is_json, ids = pcall(cjson.decode, entry)
    if not is_json or type(ids) ~= 'table' or #ids ~= 4 then return nil end
    if type(ids[1]) ~= 'string' or type(ids[2]) ~= 'number' or type(ids[3]) ~= 'string' then return nil end
    return ARGV[3] .. '{' .. ids[1] .. '}:' .. string.format('%d', ids[2]), ids[3]
end

local function is_only_waiting(part, id)
    local held = redis.pcall('HMGET', part, 'state:' .. id, 'cancelled', 'not_before:' .. id, 'queue_until:' .. id, 'looks:' .. id, 'lane')
    if held.err or held[1] ~= 'queued' or held[2] or held[3] then return false end
    if held[4] and tonumber(held[4]) <= now or (tonumber(held[5] or 0) + 1) % 4 == 0 then return false end
    return has_others(held[6] and ARGV[4] .. '.' .. held[6] or ARGV[4])
end

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
    local part, id = place(entry)
    if part and is_only_waiting(part, id) then
        local _, delay = look_again(part, 'looks:' .. id, ARGV[4], ARGV[2])
        redis.call('ZADD', KEYS[1], now + delay, entry)
        postponed = postponed + 1
    end
end
return postponed
