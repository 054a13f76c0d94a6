-- Add what a process has counted since it told the last time.
-- KEYS counts, how far the process has told
-- ARGV number of this telling (they grow, and each is repeated until it is answered), how long that is remembered ms,
--      figure, amount, ...
-- -> 'added' | 'told before'
if tonumber(redis.call('HGET', KEYS[2], 'told') or 0) >= tonumber(ARGV[1]) then return 'told before' end
for i = 3, #ARGV, 2 do
    local added = redis.pcall('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
    if type(added) == 'table' then
        -- A pool can write anything there. What is no number, or too large for one, begins anew.
        if not (added.err:find('not an integer') or added.err:find('overflow')) then return added end
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
end
redis.call('HSET', KEYS[2], 'told', ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 'added'
