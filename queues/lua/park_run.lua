-- Set a run aside that no worker at hand can carry on, and look again later; a held run is let go by its holder alone.
-- KEYS run, due, states
-- ARGV run_id, epoch of the holder ('' = nobody holds it), reason, look again in ms
-- -> 'parked' | 'held' | 'gone'
local held = redis.call('HMGET', KEYS[1], 'status', 'epoch', 'lease_until', 'snapshot')
if not held[1] or is_finished(held[1]) then return 'gone' end
if held[1] == 'RUNNING' then
    if ARGV[2] == '' and tonumber(held[3]) > now_ms() or ARGV[2] ~= '' and held[2] ~= ARGV[2] then return 'held' end
    unclaim(KEYS[1], KEYS[3], held[4])
end
redis.call('HSET', KEYS[1], 'parked', ARGV[3])
redis.call('ZADD', KEYS[2], now_ms() + ARGV[4], ARGV[1])
return 'parked'
