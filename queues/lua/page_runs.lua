-- Runs by their age, the newest first, from the one after a given run on; in one step, so that runs which come and go
-- meanwhile shift nothing. Changes nothing.
-- KEYS runs index
-- ARGV run_id ('' = from the newest on), limit
-- -> {'page', run_id, ...} | {'missing'} (the given run is not in the index)
local place = 0
if ARGV[1] ~= '' then
    local rank = redis.call('ZREVRANK', KEYS[1], ARGV[1])
    if not rank then return {'missing'} end
    place = rank + 1
end
local page = {'page'}
for _, run_id in ipairs(redis.call('ZRANGE', KEYS[1], place, place + ARGV[2] - 1, 'REV')) do page[#page + 1] = run_id end
return page
