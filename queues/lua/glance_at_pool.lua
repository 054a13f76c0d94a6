-- The sweep's look at all entries at once of which a glance is enough: calls that wait in their pool's queue behind others
-- are put off, and answered parts whose continuation was heard are forgotten. What is left due wants a look of its own.
-- KEYS pool due
-- ARGV limit, repush ms, beginning of the pool's parts, the pool's queue, beginning of the runs
-- -> number of calls put off
local now, postponed, lengths = now_ms(), 0, {}

local function has_others(queue)
    lengths[queue] = lengths[queue] or redis.pcall('LLEN', queue)
    return type(lengths[queue]) == 'number' and lengths[queue] > 0
end

-- The run of an entry, its part, and the id of its call, if it is one and no answered part; nil for what is neither: a
-- pool may write anything there.
local function place(entry)
    local is_json, ids = pcall(cjson.decode, entry)
    if not is_json or type(ids) ~= 'table' or #ids ~= 4 and #ids ~= 2 then return nil end
    if type(ids[1]) ~= 'string' or type(ids[2]) ~= 'number' or ids[3] and type(ids[3]) ~= 'string' then return nil end
    return ARGV[5] .. '{' .. ids[1] .. '}', ARGV[3] .. '{' .. ids[1] .. '}:' .. string.format('%d', ids[2]), ids[3]
end

-- Whether somebody carries the run on, or it waits for others, or nobody does any more.
local function is_heard(run)
    local held = redis.call('HMGET', run, 'status', 'lease_until')
    if not held[1] or is_finished(held[1]) then return true end
    -- One without a lease is carried on by a plain process, and is none of the queue's.
    if held[1] == 'RUNNING' then return not held[2] or tonumber(held[2]) > now end
    return held[1] == 'PAUSED' and not all_answers(run)
end

local function is_only_waiting(part, id)
    local held = redis.pcall('HMGET', part, 'state:' .. id, 'cancelled', 'not_before:' .. id, 'queue_until:' .. id, 'looks:' .. id, 'lane')
    if held.err or held[1] ~= 'queued' or held[2] or held[3] then return false end
    local until_ms, looks = tonumber(held[4] or now + 1), string.match(held[5] or '0', '^%d%d?%d?%d?%d?%d?$')
    if not until_ms or until_ms <= now or not looks or (looks + 1) % 4 == 0 then return false end
    return has_others(held[6] and ARGV[4] .. '.' .. held[6] or ARGV[4])
end

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
    local run, part, id = place(entry)
    if run and not id and is_heard(run) then
        redis.call('ZREM', KEYS[1], entry)
    elseif id and is_only_waiting(part, id) then
        local _, delay = look_again(part, 'looks:' .. id, ARGV[4], ARGV[2])
        redis.call('ZADD', KEYS[1], now + delay, entry)
        postponed = postponed + 1
    end
end
return postponed
