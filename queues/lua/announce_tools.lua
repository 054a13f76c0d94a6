-- Tell producers which pool executes which tool; what nobody has told for long is forgotten.
-- KEYS tools
-- ARGV valid ms, tool, offer, ...
-- -> number of tools that were forgotten
local now, forgotten = now_ms(), 0
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], now + ARGV[1] .. ' ' .. ARGV[i + 1]) end
local told = redis.call('HGETALL', KEYS[1])
for i = 1, #told, 2 do
    if tonumber(told[i + 1]:match('^%d+') or 0) <= now then forgotten = forgotten + redis.call('HDEL', KEYS[1], told[i]) end
end
return forgotten
