-- A person's answer to a call that no pool executes, or not yet; the first one counts, the last one of the step sends
-- the continuation. A yes to a call that waits for approval hands it out to its pool in the same step.
-- KEYS people's part, due, agents queue, run, events, deadlines, unapproved, states
-- ARGV call id, answer, run_id, repush ms, continuation, event, part of the pool with the one call ('' = goes to none),
--      member of unapproved, under which name a no to a pool's call is counted ('' = it is none)
-- -> 'settled' | 'last' | 'already' (another answer stands) | 'missing' | 'ended' (the run, or its end was asked for)
local state = redis.call('HGET', KEYS[1], 'state:' .. ARGV[1])
local run = redis.call('HMGET', KEYS[4], 'status', 'cancel_reason')
if not state or not run[1] then return 'missing' end
if state == 'settled' or state == 'approved' then
    -- The very same answer again: the first time, the reply to it was lost on the way.
    return is_answer_again(redis.call('HGET', KEYS[1], 'answer:' .. ARGV[1]), ARGV[2]) and 'settled' or 'already'
end
if is_finished(run[1]) or run[2] then return 'ended' end
local now, verdict = now_ms(), nil
local answer = stamped(ARGV[2], now)
redis.call('ZREM', KEYS[7], ARGV[8])
redis.call('XADD', KEYS[5], '*', 'event', stamped(ARGV[6], now))
if ARGV[7] == '' then
    if ARGV[9] ~= '' then redis.call('HINCRBY', KEYS[8], ARGV[9], 1) end
    verdict = settle(KEYS[1], ARGV[1], answer, KEYS[3], ARGV[5])
else
    local part = cjson.decode(ARGV[7])
    redis.call('HSET', KEYS[1], 'state:' .. ARGV[1], 'approved', 'answer:' .. ARGV[1], answer,
               'request:' .. ARGV[1], part.calls[1].request)
    redis.call('HINCRBY', KEYS[1], 'outstanding', -1)
    hand_out_approved(KEYS[4], part, part.calls, now, ARGV[4])
    verdict = 'settled'
    -- The pool had executed it before anybody was to be asked.
    if all_answers(KEYS[4]) then
        redis.call('LPUSH', KEYS[3], ARGV[5])
        verdict = 'last'
    end
end
if verdict == 'last' then redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[3]) end
lift_peoples_deadline(KEYS[4], KEYS[6], ARGV[3])
return verdict
