-- How a worker keeps what it has, and how it gives it back.

-- Every entry that a worker holds and still owns: {stream, sid, id, job}. "<worker>/<life>" means one of its lives: an
-- engine child. What a child that is dead has claimed with its last breath is not kept alive by its successor.
local function owned(p, owner)
  local found, worker, life = {}, string.match(owner, '^([^/]*)/?(.*)$')
  local sign = life == '' and worker .. '/' or owner .. '.'
  for _, lane in ipairs(LANES) do
    local stream = p .. lane
    if redis.call('EXISTS', stream) == 1 then
      for _, entry in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', 10000, worker)) do
        local id = id_of(stream, entry[1])
        if id then
          local v = read_job(p, id)
          if v.own and string.sub(v.own, 1, #sign) == sign then
            found[#found + 1] = { stream = stream, sid = entry[1], id = id, job = v, worker = worker }
          end
        end
      end
    end
  end
  return found
end

-- ARGV: owner. Answers id, "OK" | "CANCEL" | "DEADLINE" of each job that it owns.
local function renew(keys, args)
  local p, t, out = prefix(keys), now(), {}
  beat(p, t)
  for _, one in ipairs(owned(p, args[1])) do
    local v = one.job
    redis.call('XCLAIM', one.stream, GROUP, one.worker, 0, one.sid, 'JUSTID')
    local verdict = verdict_of(p, v.cancel, v.deadline, v.grace, v.seen, t)
    out[#out + 1] = one.id
    out[#out + 1] = verdict == 'deadline' and 'DEADLINE' or verdict and 'CANCEL' or 'OK'
  end
  return out
end

-- The only job that has not proven itself, when there is just one.
local function culprit(jobs)
  local found
  for _, one in ipairs(jobs) do
    if not proven(one.job) then
      if found then return nil end
      found = one
    end
  end
  return found
end

local WHAT = { ['1'] = 'killed', ['2'] = 'crashed' }

-- Its owner could have kept it: nothing is held against it that it has not outlived.
local function hand_back(p, one, t)
  local key, trail = p .. 'job:' .. one.id, trailed(one.job, t, 'handed', one.worker)
  redis.call('HSET', key, 'own', '', 'trail', trail)
  if proven(one.job) then redis.call('HSET', key, 'crashes', 0, 'kills', 0) end
end

-- ARGV: owner how [id ...]. All (or those) that it owns go back; the next claim takes them at once, whoever calls.
-- how: 0 it gives them back; 1 it was killed, by whom we cannot know; 2 it died of itself, so a lone suspect did it.
local function release(keys, args)
  local p, t, how, count, only = prefix(keys), now(), args[2], 0, nil
  for i = 3, #args do
    only = only or {}
    only[args[i]] = true
  end
  local jobs = owned(p, args[1])
  take_all_back(p)
  local guilty = how == '2' and culprit(jobs)
  for _, one in ipairs(jobs) do
    if not only or only[one.id] then
      count = count + 1
      local gone = how ~= '0' and bereave(p, one.id, one.job, WHAT[how], guilty == one, t)
      if not gone then
        if how == '0' then hand_back(p, one, t) end
        redis.call('XCLAIM', one.stream, GROUP, one.worker, 0, one.sid, 'IDLE', HANDED_MS, 'JUSTID')
      end
    end
  end
  if not only then redis.call('HDEL', p .. 'pulse', 'turn ' .. args[1]) end
  if count > 0 then redis.call('PUBLISH', p .. 'wake', count) end
  return count
end

local function forget_turns(p, worker)
  for _, name in ipairs(redis.call('HKEYS', p .. 'pulse')) do
    if string.sub(name, 1, #worker + 6) == 'turn ' .. worker .. '/' then redis.call('HDEL', p .. 'pulse', name) end
  end
end

-- ARGV: worker. Forget a consumer that holds nothing; one that does keeps its entries until they are claimed.
local function leave(keys, args)
  local p = prefix(keys)
  forget_turns(p, args[1])
  for _, lane in ipairs(LANES) do
    local stream = p .. lane
    if redis.call('EXISTS', stream) == 1 and #redis.call('XPENDING', stream, GROUP, '-', '+', 1, args[1]) == 0 then
      redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, args[1])
    end
  end
  return 'OK'
end

redis.register_function { function_name = 'qc1_renew', callback = renew, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_release', callback = release, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_leave', callback = leave, flags = { 'allow-oom' } }
