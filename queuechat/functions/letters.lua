-- Dead letters: jobs that lost one worker too many.

-- ARGV, two of each: entry of the dead stream, id. Back into the queue, with all that was delivered; watched by nobody,
-- so it runs to its end. Answers OK, ALREADY (it is alive, was answered, or has a newer letter) or MISSING (too old) of each.
local function redrive(keys, args)
  local p, t, out = prefix(keys), now(), {}
  for i = 1, #args, 2 do
    local id, key = args[i + 1], p .. 'job:' .. args[i + 1]
    local v = redis.call('HMGET', key, 'state', 'lane', 'next', 'ends', 'bill', 'deadline', 'queued', 'tenant', 'counted', 'items')
    if not v[1] then
      out[#out + 1] = 'MISSING'
    elseif v[1] ~= 'dead' or id_of(p .. 'dead', args[i]) ~= id then
      out[#out + 1] = 'ALREADY'
    else
      local job, deadline = read_job(p, id), t + v[6] - v[7]
      redis.call('XDEL', p .. 'log:' .. id, v[3] .. '-' .. v[4])
      if v[5] then
        redis.call('XDEL', p .. 'usage', v[5])
      end
      if v[5] and v[9] then
        add_spent(p, v[8], tonumber(string.match(v[5], '^%d+')), -1, v[10] and 0 or 0 - v[3], 0)
      end
      redis.call('XDEL', p .. 'dead', args[i])
      local stream = ensure(p, v[2])
      local sid = redis.call('XADD', stream, '*', 'id', id)
      line_up(stream, v[8], sid, t)
      redis.call('HSET', key, 'state', 'waiting', 'sid', sid, 'own', '', 'crashes', 0, 'kills', 0, 'cancel', '0', 'grace', '0',
        'deadline', whole(deadline), 'queued', whole(t), 'started', 0, 'first', 0, 'ended', 0,
        'trail', trailed(job, t, 'redriven', '-'))
      redis.call('PERSIST', key)
      redis.call('PERSIST', p .. 'log:' .. id)
      redis.call('ZADD', p .. 'deadlines', whole(deadline), id)
      redis.call('PUBLISH', p .. 'wake', 1)
      out[#out + 1] = 'OK'
    end
  end
  return out
end

-- ARGV, two of each: entry of the dead stream, id. Forget letter, request and what was answered of it.
local function drop(keys, args)
  local p, count = prefix(keys), 0
  for i = 1, #args, 2 do
    local id = args[i + 1]
    if id_of(p .. 'dead', args[i]) == id then
      count = count + redis.call('XDEL', p .. 'dead', args[i])
      if redis.call('HGET', p .. 'job:' .. id, 'state') == 'dead' then
        redis.call('DEL', p .. 'job:' .. id, p .. 'log:' .. id)
      end
    end
  end
  return count
end

redis.register_function('qc1_redrive', redrive)
redis.register_function { function_name = 'qc1_drop', callback = drop, flags = { 'allow-oom' } }
