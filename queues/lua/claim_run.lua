-- Take the right to carry a run on: a new one, a paused one whose answers are all in, or one whose holder died.
-- KEYS run, due, deadlines, states
-- ARGV run_id, owner (another one for each claim: a repeat is answered as the first time), lease ms
-- -> {'claimed', epoch, version, snapshot, agent, lane, number of parts of its log, part, ..., call id, answer, ...}
--    | {'held' | 'waiting' | 'missing' | 'poisonous'} | {'finished', status}
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return {'missing'} end
if is_finished(status) then return {'finished', status} end
local now, answers = now_ms(), all_answers(KEYS[1])
if status == 'PAUSED' and not answers then return {'waiting'} end
local function claimed(epoch)
    local kept = redis.call('HMGET', KEYS[1], 'version', 'snapshot', 'agent', 'lane', 'logged')
    local reply = {'claimed', tostring(epoch), kept[1], kept[2], kept[3], kept[4], kept[5] or '0'}
    add_log(reply, KEYS[1], kept[5])
    for _, value in ipairs(answers or {}) do reply[#reply + 1] = value end
    return reply
end
if status == 'RUNNING' then
    if redis.call('HGET', KEYS[1], 'owner') == ARGV[2] then return claimed(redis.call('HGET', KEYS[1], 'epoch')) end
    local lease_until = redis.call('HGET', KEYS[1], 'lease_until')
    -- Without a lease it is carried on by a plain process, and is none of the queue's.
    if not lease_until or tonumber(lease_until) > now then return {'held'} end
    -- The sweep buries it; another worker's life is not risked.
    if is_poisonous(redis.call('HGET', KEYS[1], 'deaths')) then return {'poisonous'} end
    redis.call('HINCRBY', KEYS[1], 'deaths', 1)
end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
set_status(KEYS[1], KEYS[4], 'RUNNING')
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'lease_until', now + ARGV[3])
redis.call('HDEL', KEYS[1], 'repushes', 'parked')
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
local deadline = redis.call('HGET', KEYS[1], 'deadline')
if deadline then
    redis.call('ZADD', KEYS[3], deadline, ARGV[1])
else
    redis.call('ZREM', KEYS[3], ARGV[1])
end
return claimed(epoch)
