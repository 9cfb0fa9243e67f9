-- How a worker takes jobs: what was left by others first, then what is new.
--
-- With continuous batching a job that kills its worker takes the whole batch along, and all of them look guilty. A job
-- of which two owners in a row have died by themselves, without progress, is a suspect: a worker takes it only when all
-- that it runs has proven itself, and nothing new beside it until it has too. So the next death names the culprit, and
-- costs nobody else anything. An owner that was killed from outside, or that nobody hears of any more, accuses nobody.

-- What must not run any more ends when a worker comes to it, and takes no place: so often one call looks for more.
local SWEEPS = 256
-- Requests with images are large: who has so much in one answer asks again for more.
local CLAIM_BYTES = 4 * 1024 * 1024

-- All of a job but the request itself, which may be large.
local function read_job(p, id)
  local v = redis.call('HMGET', p .. 'job:' .. id, 'state', 'own', 'cancel', 'deadline', 'grace', 'seen', 'crashes',
    'next', 'hash', 'from', 'epoch', 'started', 'first', 'trail', 'worker', 'kills')
  return { state = v[1], own = v[2], cancel = v[3], deadline = v[4], grace = v[5], seen = v[6], crashes = v[7],
    next = v[8], hash = v[9], from = v[10], epoch = v[11], started = v[12], first = v[13],
    trail = v[14] or '', worker = v[15], kills = v[16] or 0 }
end

-- The trail with one more line; of a very long one the oldest lines go.
local function trailed(v, t, what, worker)
  return string.sub(v.trail .. whole(t) .. ' ' .. what .. ' ' .. worker .. ' ' .. v.next .. ';', -8000)
end

local function proven(v)
  return tonumber(v.next) - tonumber(v.from) >= PROVEN
end

-- A job lost its owner, which was killed, crashed (by itself) or lapsed; `guilty` says that nobody else can have caused
-- it. True when it was one time too many.
local function bereave(p, id, v, what, guilty, t)
  local crashes, kills = tonumber(v.crashes), tonumber(v.kills)
  if proven(v) then crashes, kills = 0, 0 end
  take_all_back(p)
  if what == 'crashed' then crashes = crashes + 1 else kills = kills + 1 end
  redis.call('HSET', p .. 'job:' .. id, 'crashes', crashes, 'kills', kills, 'own', '',
    'trail', trailed(v, t, what, v.worker))
  if crashes >= MAX_CRASHES or guilty and crashes > SUSPECT or kills >= MAX_KILLS then
    put_end(p, id, 'dead', t)
    return true
  end
end

local function granted(p, id, v, epoch, t)
  local job = redis.call('HGET', p .. 'job:' .. id, 'job')
  return { id, job, epoch, v.next, v.hash, tonumber(v.deadline) - t, tonumber(v.crashes) }
end

local function grant(out, got)
  out[#out + 1], out.bytes = got, (out.bytes or 0) + #(got[2] or '')
end

local function enough(out)
  return (out.bytes or 0) >= CLAIM_BYTES
end

-- An entry is this worker's: end it if it must not run, else make the worker its owner.
local function start(p, stream, sid, id, worker, nonce, t)
  local v = read_job(p, id)
  if not v.state or not alive(v.state) then
    redis.call('XACK', stream, GROUP, sid)
    redis.call('XDEL', stream, sid)
    return nil
  end
  if v.own == nonce then return granted(p, id, v, tonumber(v.epoch), t) end
  local verdict = verdict_of(p, v.cancel, v.deadline, v.grace, v.seen, t)
  if verdict then
    put_end(p, id, verdict, t)
    return nil
  end
  local epoch = tonumber(v.epoch) + 1
  redis.call('HSET', p .. 'job:' .. id, 'state', 'running', 'own', nonce, 'worker', worker, 'epoch', epoch,
    'from', v.next, 'started', v.started == '0' and whole(t) or v.started, 'trail', trailed(v, t, 'taken', worker))
  return granted(p, id, v, epoch, t)
end

local function suspected(p, id)
  return tonumber(redis.call('HGET', p .. 'job:' .. id, 'crashes') or 0) >= SUSPECT
end

-- An owner was not heard of for a lease. It has lost the job, whoever gets it. True when the job ended with that.
local function lapse(p, stream, sid, id, worker, t)
  local v = read_job(p, id)
  if not v.own or v.own == '' then return false end
  redis.call('XCLAIM', stream, GROUP, worker, 0, sid, 'IDLE', HANDED_MS, 'JUSTID')
  return bereave(p, id, v, 'lapsed', false, t)
end

-- Up to `room` entries whose owner has let go, or was not heard of for a lease: {sid, id}; apart from them the first
-- suspect. Idle times run on while Redis is away: then only what was handed back may be taken.
local function orphans(p, stream, who, room, t)
  local found, suspect, steady = {}, nil, steady_for(p, 2 * who.lease, t)
  for _, entry in ipairs(redis.call('XPENDING', stream, GROUP, 'IDLE', who.lease, '-', '+', room + 64)) do
    local sid, id = entry[1], id_of(stream, entry[1])
    if not id then
      redis.call('XACK', stream, GROUP, sid)
    elseif (steady or entry[3] >= HANDED_MS) and not lapse(p, stream, sid, id, entry[2], t) then
      if suspected(p, id) then
        suspect = suspect or { sid, id }
      elseif #found < room then
        found[#found + 1] = { sid, id }
      end
    end
  end
  return found, suspect
end

-- True when nothing new may be taken now: a suspect was, or waits until all that runs here has proven itself.
local function take_orphans(p, stream, who, t, out)
  for _ = 1, SWEEPS do
    local found, suspect = orphans(p, stream, who, who.room - #out, t)
    if suspect and who.fresh + #found + #out == 0 then found = { suspect } end
    for _, orphan in ipairs(found) do
      if enough(out) then break end
      redis.call('XCLAIM', stream, GROUP, who.worker, 0, orphan[1], 'JUSTID')
      local got = start(p, stream, orphan[1], orphan[2], who.worker, who.nonce, t)
      if got then grant(out, got) end
    end
    if suspect then return true end
    if #found == 0 or #out >= who.room or enough(out) then return false end
  end
  return false
end

-- A turn is charged to its tenant only when it brought a job that runs.
local function take_new(p, stream, who, room, t, out)
  local full = #out + room
  for _ = 1, room + SWEEPS do
    local tenant = #out < full and not enough(out) and next_tenant(stream)
    if not tenant then return end
    local sid = redis.call('ZRANGE', queue_of(stream, tenant), 0, 0)[1]
    local id = id_of(stream, sid)
    leave_room(stream, tenant, sid)
    if id then
      redis.call('XCLAIM', stream, GROUP, who.worker, 0, sid, 'FORCE', 'JUSTID')
      local got = start(p, stream, sid, id, who.worker, who.nonce, t)
      if got then
        redis.call('ZINCRBY', stream .. ':turns', 1, tenant)
        grant(out, got)
      end
    end
  end
end

-- What an earlier call with this nonce granted, when its reply was lost; as fresh as if it were granted now. True when
-- that was a suspect.
local function take_again(p, stream, who, t, out)
  local suspect = false
  for _, entry in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', 10000, who.worker)) do
    local id = id_of(stream, entry[1])
    if id and redis.call('HGET', p .. 'job:' .. id, 'own') == who.nonce then
      redis.call('XCLAIM', stream, GROUP, who.worker, 0, entry[1], 'JUSTID')
      grant(out, start(p, stream, entry[1], id, who.worker, who.nonce, t))
      suspect = suspect or suspected(p, id)
    end
  end
  return suspect
end

-- A call that arrives after a later one of the same owner would take jobs whose grant nobody reads. `owner` is the nonce
-- up to its random part: a worker in one of its lives.
local function outdated(p, owner, turn)
  local last = tonumber(redis.call('HGET', p .. 'pulse', 'turn ' .. owner) or 0)
  if turn < last then return true end
  if turn > last then redis.call('HSET', p .. 'pulse', 'turn ' .. owner, whole(turn)) end
end

-- Up to how many jobs in all the i-th lane may be taken: what only reads takes no place of the others.
local function room_of(args, i, taken)
  if LANES[i] == 'reads' then return taken + tonumber(args[9] or 0) end
  return tonumber(args[3 + i])
end

-- Only a claim that left nothing behind, and whose answer is not one that was lost: a nonce stands once.
local function may_stand(p, args, out)
  if args[6] == '1' or enough(out) then return false end
  return tonumber(args[12] or 0) > #out and tonumber(args[4]) > #out and waiting(p .. 'jobs') == 0
end

-- What was granted to a standing claim whose worker has not heard of all of it; each with that claim's nonce.
local function take_unheard(p, who, stood, heard, t, out)
  if stood == '' or take_back(p, stood, heard) then return end
  take_again(p, p .. 'jobs', { worker = who.worker, nonce = stood }, t, out)
  for _, got in ipairs(out) do got[#got + 1] = stood end
end

-- ARGV: worker nonce lease_ms room bulk_room again fresh (how many of the worker's jobs have not proven themselves) turn
-- (rises with each try) reads_room stood (the nonce of the claim that it left standing, or nothing) heard (of how many of
-- its grants) free (places that are left; 0: let this claim not stand) lasts_ms. Answers {id, request, epoch, next, hash, ms
-- left, crashes} of each job, and the nonce where it is `stood`; a last "HELD" says that nothing more is given out before a
-- suspect has been tried, "STANDS" that this claim was left standing.
local function claim(keys, args)
  local p, t, out, held = prefix(keys), now(), {}, false
  local who = { worker = args[1], nonce = args[2], lease = tonumber(args[3]), fresh = tonumber(args[7] or 0) }
  if (args[8] or '') ~= '' and outdated(p, string.match(who.nonce, '^(.*)%.'), tonumber(args[8])) then return out end
  beat(p, t, math.max(SILENCE_MS, who.lease))
  take_unheard(p, who, args[10] or '', tonumber(args[11] or 0), t, out)
  if args[6] == '1' then take_back(p, who.nonce) end -- the answer that was lost may have said that it stands
  for _, lane in ipairs(LANES) do
    ensure(p, lane)
    if args[6] == '1' and take_again(p, p .. lane, who, t, out) then held = true end
  end
  for i, lane in ipairs(LANES) do
    who.room = room_of(args, i, #out)
    if not held and who.room > #out and take_orphans(p, p .. lane, who, t, out) then held = true end
  end
  for i, lane in ipairs(LANES) do
    local room = room_of(args, i, #out) - #out
    if not held and room > 0 then take_new(p, p .. lane, who, room, t, out) end
  end
  if held then
    out[#out + 1] = 'HELD'
  elseif may_stand(p, args, out) then
    stand(p, who.nonce, tonumber(args[12]) - #out, tonumber(args[4]) - #out, tonumber(args[13]), t)
    out[#out + 1] = 'STANDS'
  end
  return out
end

redis.register_function('qc1_claim', claim)
