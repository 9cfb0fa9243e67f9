#!lua name=queuechat1
-- Every state change of a job is one function, atomic and safe to repeat: validate first, write last.
--
-- KEYS[1] is always qc:{m}:jobs; the other keys of the model are named from it and share its hash slot:
--   jobs, bulk, reads  streams  ids that wait or run, group "workers"; an entry goes with its job's end. What is in
--                           `reads` only wants its prompt read: it takes no place of the engine, and costs nothing.
--                           Who waits is taken out of order (see room.lua), so the last delivered id says nothing
--   jobs:turns, jobs:of:<tenant>, bulk:…, reads:…    zsets   the waiting room, see room.lua
--   job:<id>        hash    job (the request; a long one goes with its end), state, lane, sid (its stream entry), own
--                           (fencing nonce of the owner,
--                           "<worker>/<life>.<random>", empty when nobody runs it), worker (who ran it last), epoch, next
--                           (offset), hash (of the token ids before next), from (next at the start of this epoch),
--                           crashes and kills (owners in a row that died of themselves, or that somebody killed or nobody
--                           heard of any more, each without progress), cancel, deadline, grace and seen (how long it may be unwatched; last watched),
--                           tenant, idem (its idempotency key), queued, started, first, ended (ms), ends (how often),
--                           bill (its usage entry), counted (it is in spent), items (what it publishes are
--                           vectors, no tokens), letter (its entry of `dead`), choices (jobs of its request), keep (ms that it and its log are
--                           kept after its end, when that is longer than usual; without the request then), trail ("<ms> <what> <worker> <next>;" of each handover)
--   log:<id>        stream  <end>-0: c = chunk, h = prefix hash; <end>-1: e = the end
--   out:<id>, wake  channel
--   deadlines       zset    id by deadline
--   pulse           hash    at (when a worker last spoke), resumed (when one did after a long silence), and of each owner
--                           "turn <worker>/<life>", its last claim
--   standing        hash    claims that workers have left standing, see standing.lua
--   dead, usage     stream
--   spent:<day>     hash    "<tenant> requests", "<tenant> tokens" (written), "<tenant> prompt_tokens"; <day> as 2026-11-21, UTC
-- The clock is Redis': hosts may disagree with each other, nobody disagrees with TIME.

-- Raise it with every change: a server keeps the library of the latest revision that it was brought.
local REVISION = 12

local GROUP = 'workers'
local LANES = { 'jobs', 'bulk', 'reads' }
local SILENCE_MS = 3000 -- less than a lease by two beats: what is renewed each second may be that old when a silence begins
local STUCK_MS = 1000
local KEEP_MS = 900000
local KEEP_READ_MS = 60000 -- of what was only read: it is long, and costs nothing
local KEEP_JOB_BYTES = 256 * 1024 -- a longer request goes with its end, unless it becomes a dead letter
local KEEP_DEAD_MS = 7 * 86400000 -- a dead letter can be redriven for so long
local KEEP_SPENT_MS = 400 * 86400000
local IDEM_MS = 86400000
local HANDED_MS = 86400000 -- idle time of an entry that was handed back: over any lease, taken at once
local FORGET_MS = 3600000
local MEMORY = 0.8 -- of maxmemory: what is above is kept for the answers that run
local PROVEN = 8 -- tokens in one epoch that show that a job does not kill its worker
local SUSPECT = 2 -- crashes in a row, without such progress, after which a job is watched alone
local MAX_CRASHES = 5
local MAX_KILLS = 100 -- nobody's fault, as far as we know; but not for ever

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function prefix(keys)
  return string.sub(keys[1], 1, -5)
end

local function whole(number)
  return string.format('%.0f', number)
end

local function pending(stream)
  if redis.call('EXISTS', stream) == 0 then return 0 end
  return redis.call('XPENDING', stream, GROUP)[1]
end

local function waiting(stream)
  if redis.call('EXISTS', stream) == 0 then return 0 end
  return redis.call('XLEN', stream) - pending(stream)
end

local function id_of(stream, sid)
  local entry = redis.call('XRANGE', stream, sid, sid)[1]
  return entry and entry[2][2]
end

local function alive(state)
  return state == 'waiting' or state == 'running'
end

-- A worker speaks. After a silence of all workers (Redis was away, or a replica took its place) nobody could do in time
-- what is now overdue: the end of the silence is noted, and counts as the moment at which all clocks were wound.
local function beat(p, t, silence)
  local at = tonumber(redis.call('HGET', p .. 'pulse', 'at') or t)
  if t - at > (silence or SILENCE_MS) then
    redis.call('HSET', p .. 'pulse', 'at', whole(t), 'resumed', whole(t))
  elseif t - at > 500 or t == at then
    redis.call('HSET', p .. 'pulse', 'at', whole(t))
  end
end

-- Whether Redis was there for the last `ms`, for all who had something to renew.
local function steady_for(p, ms, t)
  return t - tonumber(redis.call('HGET', p .. 'pulse', 'resumed') or 0) >= ms
end

local function field(entry, name)
  for i = 1, #entry, 2 do
    if entry[i] == name then return entry[i + 1] end
  end
end

-- Ms until the next place in the waiting room is free: how long the newest jobs ran, over how many run at a time.
-- 0 when nothing is known: none has ended lately, or nobody takes any.
local function pace(p, t)
  local running, sum, count = pending(p .. 'jobs') + pending(p .. 'bulk'), 0, 0
  if running == 0 then return 0 end
  for _, ended in ipairs(redis.call('XREVRANGE', p .. 'usage', '+', whole(t - 600000), 'COUNT', 32)) do
    local started, stopped = tonumber(field(ended[2], 'started')), tonumber(field(ended[2], 'ended'))
    if started > 0 then sum, count = sum + stopped - started, count + 1 end
  end
  return count == 0 and 0 or math.max(sum / count / running, 0.001)
end
