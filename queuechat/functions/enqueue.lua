-- How a job comes in, or why it does not.

local function used_memory()
  local info = redis.call('INFO', 'memory')
  local most = tonumber(string.match(info, '\nmaxmemory:(%d+)'))
  return most == 0 and 0 or tonumber(string.match(info, 'used_memory:(%d+)')) / most
end

-- The first request with this idempotency key, while its answer can still be read or is still being made.
local function seen_before(p, idem, sha)
  if idem == '' then return nil end
  local seen = redis.call('HMGET', idem, 'id', 'sha')
  if not seen[1] then return nil end
  local state = redis.call('HGET', p .. 'job:' .. seen[1], 'state')
  if not state or not alive(state) and not delivered(state) then return nil end
  return seen[2] == sha and { 'DUP', seen[1] } or { 'MISMATCH' }
end

-- Whether `count` more of a tenant are too many. In a full room there is still a place for who waits with less than its
-- share of it, up to twice as many in all: nobody is sent away because of another. (In `bulk` also beyond that: the lines
-- of batches come without a limit, and fill it as far as they like.)
local function too_many(stream, line, tenant, count, depth, limit)
  if depth + count <= limit then return false end
  local tenants, own = 1, 0
  for _, one in ipairs(line) do
    if one.tenant == tenant then own = one.count else tenants = tenants + 1 end
  end
  return tenants == 1 or own + count > math.floor(limit / tenants)
    or depth + count > 2 * limit and not is_bulk(stream)
end

-- The place in the room that the last of `count` more of a tenant would have.
local function place_at_end(stream, line, tenant, count)
  local own = redis.call('ZCARD', queue_of(stream, tenant))
  return place_in(line, tenant, turn_of(stream, tenant), own + count - 1)
end

-- Why there is no room for `count` more jobs; nil when there is. A room that fills only because many came at once, and
-- empties as fast, is no reason to send anybody away.
local function refused(p, stream, tenant, count, limit, patience, t)
  if used_memory() > MEMORY then return { 'MEMORY' } end
  local depth = waiting(stream)
  if limit == 0 or depth == 0 and count <= limit then return nil end
  if count > limit then return { 'FULL', 0 } end
  local each, line = stream == p .. 'reads' and 0 or pace(p, t), nil
  if depth + count > limit or (depth + count) * each > patience then line = line_of(stream) end
  if line and too_many(stream, line, tenant, count, depth, limit) then
    return { 'FULL', depth, math.ceil((depth + count - limit) * each) }
  end
  local wait = line and place_at_end(stream, line, tenant, count) * each or 0
  if wait > patience and t - (oldest_in(stream) or t) > STUCK_MS then
    return { 'LATE', depth, math.ceil(wait), math.ceil(wait - patience) }
  end
end

local function put(p, stream, id, job, args, count, keep, t)
  local lane, deadline = args[1], t + tonumber(args[3])
  redis.call('DEL', p .. 'log:' .. id) -- of the same id, whose job is gone: what was said then is not said again
  local sid = redis.call('XADD', stream, '*', 'id', id)
  line_up(stream, args[5], sid, t)
  redis.call('HSET', p .. 'job:' .. id, 'job', job, 'state', 'waiting', 'lane', lane, 'sid', sid, 'own', '',
    'worker', '', 'epoch', 0, 'next', 0, 'hash', '', 'from', 0, 'crashes', 0, 'kills', 0, 'cancel', '0', 'deadline', deadline,
    'grace', args[4], 'seen', t, 'tenant', args[5], 'idem', args[6], 'queued', t, 'started', 0, 'first', 0, 'ended', 0,
    'ends', 0, 'trail', '', 'choices', count, 'keep', keep)
  redis.call('ZADD', p .. 'deadlines', deadline, id)
end

-- Where the jobs stand among the arguments that are not there yet. Who asks again may find some of them ended and gone
-- and others alive: those must stay as they are.
local function missing(p, args, count)
  local found = {}
  for i = 8, 6 + 2 * count, 2 do
    if redis.call('EXISTS', p .. 'job:' .. args[i]) == 0 then found[#found + 1] = i end
  end
  return found
end

-- Larger requests wait until they are asked for: Redis has to keep what it publishes for those who are slow to read it.
local HAND_BYTES = 256 * 1024

-- The first of those who wait goes to a worker whose claim stands, if there is one.
local function hand_over(p, stream, t)
  local one = roomiest(p, t)
  if not one then return false end
  local who, out = { worker = worker_of(one.nonce), nonce = one.nonce }, {}
  take_new(p, stream, who, 1, t, out)
  local got = out[1]
  if not got then return false end
  note_grant(p, one)
  redis.call('PUBLISH', channel_of(one.nonce),
    table.concat({ one.nonce, got[3], whole(got[6]), one.left - 1 }, ' ') .. '\n' .. got[2])
  return true
end

-- Give the new ones to workers whose claims stand. Answers for how many there was none.
local function hand_out(p, stream, args, new, t)
  local left = #new
  if args[1] ~= 'jobs' or waiting(stream) > left then return left end
  for _, i in ipairs(new) do
    if #args[i + 1] > HAND_BYTES then return left end
  end
  while left > 0 and hand_over(p, stream, t) do left = left - 1 end
  return left
end

-- ARGV: lane limit deadline_ms grace_ms tenant idem_key body_sha, then id and request of each job: all that are not there
-- or none; at the end there may be keep_ms, for how long they and their logs are kept after the end.
local function enqueue(keys, args)
  local p, t = prefix(keys), now()
  local idem, first, count = args[6], args[8], math.floor((#args - 7) / 2)
  local keep = #args % 2 == 0 and args[#args] or 0
  local new = missing(p, args, count)
  if #new == 0 then return { 'OK' } end
  local stream = ensure(p, args[1])
  local no = #new == count and seen_before(p, idem, args[7])
    or refused(p, stream, args[5], #new, tonumber(args[2]), tonumber(args[3]), t)
  if no then return no end
  for _, i in ipairs(new) do put(p, stream, args[i], args[i + 1], args, count, keep, t) end
  if idem ~= '' and #new == count then
    redis.call('HSET', idem, 'id', first, 'sha', args[7])
    redis.call('PEXPIRE', idem, IDEM_MS)
  end
  local left = hand_out(p, stream, args, new, t)
  if left > 0 then redis.call('PUBLISH', p .. 'wake', args[1] == 'reads' and args[1] or left) end
  return { 'OK' }
end

redis.register_function('qc1_enqueue', enqueue)
