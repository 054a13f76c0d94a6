-- Put in front of every script: the clock, the fence, and what "all answers are in" and "settled" mean.
-- A run hash:  snapshot logged log:<n> (the log of the snapshot, in `logged` parts that are counted from 1; see
--              agent_core.snapshot_log) version status agent lane step created epoch owner lease_until waiting deadline
--              deaths repushes cancel_reason parked webhook (where its ends and its pauses for people are told), and per
--              announcement of these webhook_tries:<version> webhook_holder:<version>; while it is held told
--              (<epoch>:<number of what its holder told last between two saves>)
-- A part hash: outstanding agent lane (none = normal) cancelled refused, and per call
--              state:<id> (queued | claimed | executing | settled | buried) request:<id> queued:<id> queue_until:<id> epoch:<id>
--              attempts:<id> owner:<id> lease:<id> looks:<id> not_before:<id> deaths:<id> answer:<id>
--              told:<id> (<epoch>:<number of the last output that was told>)
-- A people's part, which no pool may touch, has the same fields as far as it needs them. Of calls that wait for approval
-- it has queue_ms as well, and state:<id> is unapproved | approved | settled
-- A pool may write anything into its parts and streams, so what reads them for a run takes junk for nothing.

local REPUSH_CAP_MS = 300000
local DEATHS_TO_BURY = 3
local PACKED_LENGTH = 1000 -- what a longer stream reserves is a small share of it, and a copy takes its time

local function now_ms()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function is_finished(status)
    return status == 'COMPLETED' or status == 'ERROR' or status == 'CANCELLED'
end

-- Whether the writer still holds the run: its claim's epoch and the version that it read.
local function is_fenced_off(run, epoch, version)
    local held = redis.call('HMGET', run, 'epoch', 'version', 'status')
    return held[1] ~= epoch or held[2] ~= version or held[3] ~= 'RUNNING'
end

-- The answer to a writer that is fenced off: it lost the run, unless this very write went through before and only its
-- answer was lost on the way. `status` is the one that the write leads to.
local function turned_away(run, epoch, version, snapshot, status)
    local held = redis.call('HMGET', run, 'epoch', 'version', 'status', 'snapshot', 'cancel_reason')
    local is_repeat = held[1] == epoch and tonumber(held[2]) == version + 1 and held[3] == status and held[4] == snapshot
    return is_repeat and {'saved', held[2], held[5] or ''} or {'stale'}
end

-- The one place where a run's status changes. How many runs are in each unfinished status now, how many ended in each
-- finished one, and how many there ever were, is counted in the same step.
local function set_status(run, states, status)
    local before = redis.call('HGET', run, 'status')
    if before == status then return end
    redis.call('HSET', run, 'status', status)
    redis.call('HINCRBY', states, status, 1)
    if not before then
        redis.call('HINCRBY', states, 'submitted', 1)
    elseif not is_finished(before) and redis.call('HINCRBY', states, before, -1) < 0 then
        redis.call('HSET', states, before, 0) -- stored by a release that did not count
    end
end

-- Undo a claim: the run stands where its snapshot stands, and nobody holds it.
local function unclaim(run, states, snapshot)
    local before = cjson.decode(snapshot).output.status
    set_status(run, states, before == 'PAUSED' and 'PAUSED' or 'PENDING')
    redis.call('HDEL', run, 'owner', 'lease_until', 'told')
end

-- The waiting list of a run, [{key=<part>, calls={<id>, ...}}, ...]; it stands on the trusted side, so a pool
-- cannot shorten it. A call that a person has approved stands in it twice: where they approved it, then where its pool
-- answers.
local function waiting_parts(run)
    local waiting = redis.call('HGET', run, 'waiting')
    if not waiting or waiting == '' then return {} end
    return cjson.decode(waiting)
end

-- Flat {id, answer, ...}, in the order of the waiting list, once every call of it has its answer, else nil.
local function all_answers(run)
    local answers = {}
    for _, part in ipairs(waiting_parts(run)) do
        for _, id in ipairs(part.calls) do
            local answer = redis.pcall('HGET', part.key, 'answer:' .. id)
            if type(answer) ~= 'string' then return nil end
            answers[#answers + 1] = id
            answers[#answers + 1] = answer
        end
    end
    return answers
end

-- A stream reserves the whole of the node that it appends to, 4096 bytes unless the server is told otherwise; a copy
-- takes what it holds and no more. For the streams of a run of which nothing is heard for a while.
local function pack(stream)
    local length = redis.pcall('XLEN', stream)
    if type(length) ~= 'number' or length > PACKED_LENGTH then return end
    if redis.call('COPY', stream, stream .. ':packed', 'REPLACE') == 1 then redis.call('RENAME', stream .. ':packed', stream) end
end

-- Tell the readers what a pool does for a run; the pool's stream is let go of some time after the last word. A pool that
-- put something else in its place tells nothing.
local function tell(stream, event, retention_ms)
    redis.pcall('XADD', stream, '*', 'event', event)
    redis.call('PEXPIRE', stream, retention_ms)
end

-- Tell what a call writes: the events from ARGV[place + 1] on, which bear the numbers from ARGV[place] on. Those that were
-- told before under the same claim are left out: the answer was lost on the way, or they are told by two ways at once.
-- Returns the error of a server that takes no writes just now, and then nothing is told.
local function tell_output(part, stream, id, epoch, retention_ms, place)
    if #ARGV <= place then return end
    local by, told = string.match(redis.call('HGET', part, 'told:' .. id) or '', '^(%d+):(%d+)$')
    told = by == epoch and tonumber(told) or 0
    local before = ARGV[place] - 1
    local noted = redis.pcall('HSET', part, 'told:' .. id, epoch .. ':' .. math.max(told, before + #ARGV - place))
    if type(noted) == 'table' then return noted end
    for i = place + 1 + math.max(0, told - before), #ARGV do tell(stream, ARGV[i], retention_ms) end
end

-- Write a snapshot: its head anew, and its log as the writer knows it: '<number of parts>', with ' <part>' behind it if the
-- last of them is new. What more there may be of an earlier writer's counts no longer; the head tells it all itself.
local function write_snapshot(run, head, log)
    local logged, part = string.match(log, '^(%d+) ?(.*)$')
    if part ~= '' then redis.call('HSET', run, 'log:' .. logged, part) end
    redis.call('HSET', run, 'snapshot', head, 'logged', logged)
end

-- The parts of a run's log, in order, behind what `reply` holds; `logged` is how many there are (none = 0).
local function add_log(reply, run, logged)
    for part = 1, tonumber(logged or 0) do reply[#reply + 1] = redis.call('HGET', run, 'log:' .. part) end
end

-- Write the snapshot and tell the readers, in one step; returns the new version.
local function write_down(run, events, snapshot, log, step, told)
    -- A run that gets on is not what kills its holders.
    if tonumber(step) > tonumber(redis.call('HGET', run, 'step') or 0) then redis.call('HDEL', run, 'deaths') end
    redis.call('HSET', run, 'step', step)
    write_snapshot(run, snapshot, log)
    for i = told, #ARGV do redis.call('XADD', events, '*', 'event', ARGV[i]) end
    return tostring(redis.call('HINCRBY', run, 'version', 1))
end

-- The run has ended: nobody looks for it any more, and it goes once its retention is over.
local function let_go(run, events, due, deadlines, expiring, run_id, retention_ms)
    redis.call('HDEL', run, 'owner', 'lease_until', 'told', 'cancel_reason', 'parked')
    redis.call('ZREM', due, run_id)
    redis.call('ZREM', deadlines, run_id)
    redis.call('ZADD', expiring, now_ms() + retention_ms, run_id)
    redis.call('PEXPIRE', run, retention_ms)
    redis.call('PEXPIRE', events, retention_ms)
    pack(events)
end

-- Whether the writer still holds the call: it is claimed or executing under the writer's epoch.
local function holds_call(state, held_epoch, epoch)
    return (state == 'claimed' or state == 'executing') and held_epoch == epoch
end

local function is_poisonous(deaths)
    return tonumber(deaths or 0) + 1 >= DEATHS_TO_BURY
end

local function bury(dead, letters, id, letter)
    redis.call('ZADD', dead, now_ms(), id)
    redis.call('HSET', letters, id, letter)
end

-- Parts that a run no longer waits for stay for a while, so that late copies of a call still learn that it is settled.
local function retire_parts(run, retention_ms, cancelled)
    for _, part in ipairs(waiting_parts(run)) do
        if redis.call('EXISTS', part.key) == 1 then
            if cancelled then redis.pcall('HSET', part.key, 'cancelled', 1) end
            redis.call('PEXPIRE', part.key, retention_ms)
        end
        pack((part.key:gsub('%d+$', 'events')))
    end
    redis.call('HDEL', run, 'waiting')
end

-- Whether to publish a message again that nobody acted on, and when to look the next time. While the queue holds others,
-- it is probably still among them: a backlog must not breed copies. So only each fourth look publishes then.
local function look_again(key, field, queue, base_ms)
    local looks = redis.call('HINCRBY', key, field, 1)
    local delay = math.min(base_ms * 2 ^ math.min(looks - 1, 12), REPUSH_CAP_MS)
    return redis.call('LLEN', queue) == 0 or looks % 4 == 0, delay
end

-- Whether the part holds a call that belongs to no run: nobody is to be continued, its producer waits for the answer itself.
local function is_lone(part)
    return redis.call('HGET', part, 'agent') == ''
end

-- The one place where a call gets its answer: first writer wins, the last one of the part sends the continuation, which
-- its caller has rendered for this push alone: two pushes of one rendering would share a delivery tag.
local function settle(part, id, answer, agents_queue, continuation)
    redis.call('HSET', part, 'state:' .. id, 'settled', 'answer:' .. id, answer)
    redis.call('HDEL', part, 'lease:' .. id, 'owner:' .. id, 'told:' .. id)
    if redis.call('HINCRBY', part, 'outstanding', -1) > 0 or is_lone(part) then return 'settled' end
    redis.call('LPUSH', agents_queue, continuation)
    return 'last'
end
