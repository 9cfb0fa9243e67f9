-- Standing claims: a worker with room to spare leaves its claim standing, and what comes is granted to it by the call
-- that brings it. The grant goes to a channel of the worker's engine, and pub/sub has no memory: so the worker's next claim takes the
-- standing one back and tells how many grants it has heard of. If there were more, what was granted is told again.
--
--   standing  hash  nonce: "<until> <free> <left> <granted>": until when (ms) it stands, the worker's free places, how
--                   many more may be granted, how many were
--
-- A nonce stands once, and nothing stands while something lies around that an owner has lost: that goes first.

local MOST = 4 -- a worker that is frozen keeps no more than these waiting

local function stand(p, nonce, free, left, lasts, t)
  local value = table.concat({ whole(t + lasts), free, math.min(left, free, MOST), 0 }, ' ')
  redis.call('HSET', p .. 'standing', nonce, value)
  redis.call('PEXPIRE', p .. 'standing', lasts)
end

local function read_standing(value)
  local till, free, left, granted = string.match(value or '', '^(%d+) (%d+) (%d+) (%d+)$')
  return till and { till = tonumber(till), free = tonumber(free), left = tonumber(left), granted = tonumber(granted) }
end

-- Nothing is granted to it any more. True when the worker has heard of all that was.
local function take_back(p, nonce, heard)
  local one = read_standing(redis.call('HGET', p .. 'standing', nonce))
  redis.call('HDEL', p .. 'standing', nonce)
  return one and one.granted == heard
end

local function take_all_back(p)
  redis.call('DEL', p .. 'standing')
end

local function worker_of(nonce)
  return string.match(nonce, '^[^/]*')
end

local function channel_of(nonce)
  return 'qc:control:' .. worker_of(nonce) .. ':grants'
end

-- Of an engine that is gone Redis knows at once: its connection is. (In a cluster it may listen at another node, and a
-- role of an earlier release may not ask: then workers are granted nothing but what they ask for.)
local function listens(nonce)
  local counted = redis.pcall('PUBSUB', 'NUMSUB', channel_of(nonce))
  return not counted.err and counted[2] > 0
end

-- The claims to which more may be granted, each with its nonce; those that are over go. None for a role that may not look.
local function open_claims(p, t)
  local rows, open = redis.pcall('HGETALL', p .. 'standing'), {}
  if rows.err then return open end
  for i = 1, #rows, 2 do
    local one = read_standing(rows[i + 1])
    if t > one.till then
      redis.call('HDEL', p .. 'standing', rows[i])
    elseif one.left > 0 then
      one.nonce = rows[i]
      open[#open + 1] = one
    end
  end
  return open
end

local function take_roomiest(open)
  local at
  for i, one in ipairs(open) do
    if not at or one.free > open[at].free then at = i end
  end
  return at and table.remove(open, at)
end

-- The standing claim of the worker with most room; nil if there is none. There may be hundreds of workers: only who is about
-- to be granted something is asked for, and goes when it is gone.
local function roomiest(p, t)
  local open = open_claims(p, t)
  while true do
    local best = take_roomiest(open)
    if not best or listens(best.nonce) then return best end
    redis.call('HDEL', p .. 'standing', best.nonce)
  end
end

local function note_grant(p, one)
  local value = table.concat({ whole(one.till), one.free - 1, one.left - 1, one.granted + 1 }, ' ')
  redis.call('HSET', p .. 'standing', one.nonce, value)
end
