-- How tokens come out: fenced by the owner's nonce, the offset and the hash of all that was said before.

local function append(p, a, i, t)
  local id, first, count = a[i], tonumber(a[i + 2]), tonumber(a[i + 3])
  local key = p .. 'job:' .. id
  local v = redis.call('HMGET', key, 'own', 'next', 'hash', 'cancel', 'deadline', 'grace', 'seen', 'first')
  if v[1] ~= a[i + 1] then return 'FENCED' end
  local at = tonumber(v[2])
  if first + count <= at then return 'DUP' end
  if first ~= at then return 'GAP' end
  if v[3] ~= a[i + 4] then return 'DIVERGED' end
  local verdict = verdict_of(p, v[4], v[5], v[6], v[7], t)
  if verdict then return verdict == 'deadline' and 'DEADLINE' or 'CANCEL' end
  local last = whole(first + count)
  local added = redis.pcall('XADD', p .. 'log:' .. id, last .. '-0', 'c', a[i + 6], 'h', a[i + 5])
  if type(added) == 'table' and added.err then return 'DIVERGED' end -- a log that is another's; the others go on
  if v[8] == '0' then
    if string.find(a[i + 6], '^1{"o":%d+,"n":%d+,"v":') then redis.call('HSET', key, 'items', '1') end
    redis.call('HSET', key, 'next', last, 'hash', a[i + 5], 'first', t)
  else
    redis.call('HSET', key, 'next', last, 'hash', a[i + 5])
  end
  redis.call('PUBLISH', p .. 'out:' .. id, a[i + 6])
  return 'OK'
end

-- ARGV, seven of each job: id nonce first count hash-before hash-after chunk. Answers one word of each.
local function publish(keys, args)
  local p, t, out = prefix(keys), now(), {}
  beat(p, t)
  for i = 1, #args, 7 do out[#out + 1] = append(p, args, i, t) end
  return out
end

redis.register_function('qc1_publish', publish)
