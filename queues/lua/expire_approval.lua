-- The sweep's look at a call that nobody has approved in time: it is settled as expired, so that the run goes on.
-- KEYS part of calls that wait for approval, unapproved, run, events, due, agents queue, deadlines, states
-- ARGV call id, member of unapproved, answer, event, run_id, repush ms, continuation, under which name this is counted
-- -> 'expired' | 'held' (there is time left) | 'gone'
local now, until_ms = now_ms(), redis.call('ZSCORE', KEYS[2], ARGV[2])
if until_ms and tonumber(until_ms) > now then return 'held' end
redis.call('ZREM', KEYS[2], ARGV[2])
local state = redis.call('HGET', KEYS[1], 'state:' .. ARGV[1])
local run = redis.call('HMGET', KEYS[3], 'status', 'cancel_reason')
-- A run that ended and is retried asks again, for as long as the first time.
if state ~= 'unapproved' or not run[1] or is_finished(run[1]) or run[2] then return 'gone' end
redis.call('XADD', KEYS[4], '*', 'event', ARGV[4])
redis.call('HINCRBY', KEYS[8], ARGV[8], 1)
if settle(KEYS[1], ARGV[1], ARGV[3], KEYS[6], ARGV[7]) == 'last' then
    redis.call('ZADD', KEYS[5], now + ARGV[6], ARGV[5])
end
lift_peoples_deadline(KEYS[3], KEYS[7], ARGV[5])
return 'expired'
