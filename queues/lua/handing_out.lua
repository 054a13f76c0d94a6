-- Put in front of every script, after the prelude: how calls get to their pools and to people.

-- Make a part ready to take calls (again).
local function open_part(part)
    redis.call('PERSIST', part.key)
    -- A pool cannot keep a run from going on by putting something else in the place of its next part.
    if type(redis.pcall('HDEL', part.key, 'cancelled')) == 'table' then redis.call('PEXPIRE', part.key, 0) end
    redis.call('HSET', part.key, 'agent', part.agent)
    if part.lane then redis.call('HSET', part.key, 'lane', part.lane) end
    if part.stretch then redis.call('HSET', part.key, 'stretch', part.stretch) end
end

-- Have the sweep look at a call of the part. As with the part itself, a pool may have put something else there.
local function look_later(part, call, at)
    if type(redis.pcall('ZSCORE', part.due, call.due_member)) == 'table' then redis.call('PEXPIRE', part.due, 0) end
    redis.call('ZADD', part.due, at, call.due_member)
end

-- Put a call into its pool's part and queue, or where people find it; says whether it is still to be answered.
local function hand_out_call(part, call, now, repush_ms)
    if redis.call('HEXISTS', part.key, 'answer:' .. call.id) == 1 then return false end
    local state = redis.call('HGET', part.key, 'state:' .. call.id)
    if state == 'claimed' or state == 'executing' then
        -- Its worker may live; if not, the sweep finds out.
        look_later(part, call, now)
        return true
    end
    redis.call('HSET', part.key, 'state:' .. call.id, part.approval and 'unapproved' or 'queued', 'request:' .. call.id,
               call.request, 'queued:' .. call.id, now)
    if part.approval then
        if part.queue_ms then redis.call('HSET', part.key, 'queue_ms', part.queue_ms) end
        if part.approval.ms then redis.call('ZADD', part.approval.unapproved, now + part.approval.ms, call.unapproved) end
        return true
    end
    if part.queue_ms then redis.call('HSET', part.key, 'queue_until:' .. call.id, now + part.queue_ms) end
    if part.due then
        redis.call('LPUSH', call.queue, call.message)
        look_later(part, call, now + repush_ms)
    end
    return true
end

-- Hand calls out that a person has approved: from now on the run waits for the answers of their pool as well. How many
-- are outstanding there is counted anew, whatever the pool has written.
local function hand_out_approved(run, part, calls, now, repush_ms)
    local waiting, entry = waiting_parts(run), nil
    for _, listed in ipairs(waiting) do
        if listed.key == part.key then entry = listed end
    end
    if not entry then
        entry = {key = part.key, calls = {}}
        waiting[#waiting + 1] = entry
    end
    open_part(part)
    for _, call in ipairs(calls) do
        hand_out_call(part, call, now, repush_ms)
        entry.calls[#entry.calls + 1] = call.id
    end
    local outstanding = 0
    for _, id in ipairs(entry.calls) do
        outstanding = outstanding + 1 - redis.call('HEXISTS', part.key, 'answer:' .. id)
    end
    redis.call('HSET', part.key, 'outstanding', outstanding)
    redis.call('HSET', run, 'waiting', cjson.encode(waiting))
end

-- Hand the calls of a step out: parts and messages in one step, so that no crash can separate them.
--   parts: [{key, due, agent, lane, stretch, queue_ms, approval,
--            calls: [{id, request, queue, message, due_member, unapproved}]}]; the normal lane is left out; a people's part has no due set, and its calls have no queue
--   stretch: the step after which the task that hands out was sent; left out at the start of the run
--   approval: {key, unapproved, ms}, if a person is asked first: where the calls lie once that is done; where it is
--   written down, and when, that nobody answered in time
-- A retried run hands the same calls out again: what is answered or in somebody's hands stays so, and epochs go on.
local function hand_out(run, waiting, parts, repush_ms)
    local now = now_ms()
    redis.call('HSET', run, 'waiting', waiting)
    for _, part in ipairs(cjson.decode(parts)) do
        local outstanding, approved = 0, {}
        open_part(part)
        for _, call in ipairs(part.calls) do
            if hand_out_call(part, call, now, repush_ms) then
                outstanding = outstanding + 1
            elseif part.approval and redis.call('HGET', part.key, 'state:' .. call.id) == 'approved' then
                -- What was approved, which need not be what was asked for.
                call.request = redis.call('HGET', part.key, 'request:' .. call.id)
                approved[#approved + 1] = call
            end
        end
        redis.call('HSET', part.key, 'outstanding', outstanding)
        if #approved > 0 then
            local pools = {key = part.approval.key, due = part.due, agent = part.agent, lane = part.lane, queue_ms = part.queue_ms}
            hand_out_approved(run, pools, approved, now, repush_ms)
        end
    end
end
