-- What a pool's workers have counted, how many of them there are, and how many of its calls have no answer yet. Whatever
-- its credential may have written there, the answer is short.
-- KEYS counts, pool due, workers
-- ARGV how many entries of due and of workers are looked at, figure, ...
-- -> {open calls, workers, count or '', ...}
local now = now_ms()

-- Parts that are answered lie there as well. Of many entries some are looked at, and stand for all.
local function open_calls()
    local all, some = redis.pcall('ZCARD', KEYS[2]), redis.pcall('ZRANDMEMBER', KEYS[2], ARGV[1])
    if type(all) ~= 'number' or all == 0 then return 0 end
    local calls = 0
    for _, entry in ipairs(some) do
        if entry:find('^%["[^"]*", %d+, ".*"%]$') then calls = calls + 1 end
    end
    return math.floor(all * calls / #some + 0.5)
end

local function is_there(said)
    local until_ms = said['until'] and said['until']:match('^%d+$') and tonumber(said['until']) or 0
    return until_ms > now and until_ms < 1e15 and said.says and said.says:find('^{') ~= nil
end

-- What each said last counts.
local function workers()
    local entries, heard, there = redis.pcall('XREVRANGE', KEYS[3], '+', '-', 'COUNT', ARGV[2]), {}, 0
    for _, entry in ipairs(entries) do
        local said = {}
        for i = 1, #entry[2], 2 do said[entry[2][i]] = entry[2][i + 1] end
        if said.worker and not heard[said.worker] then
            heard[said.worker] = true
            if is_there(said) then there = there + 1 end
        end
    end
    return there
end

local measured = {tostring(open_calls()), tostring(workers())}
local counts = redis.pcall('HMGET', KEYS[1], unpack(ARGV, 3))
for i = 1, #ARGV - 2 do
    local count = not counts.err and counts[i] or ''
    measured[i + 2] = #count <= 18 and count:match('^%d+$') or ''
end
return measured
