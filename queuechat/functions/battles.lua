-- Battles and their votes, and the log lines that wait to be written to files.
--
-- KEYS[1]  hash    qc:{arena}:battle:<id>: seal (who fights for whom, as it was opened), vote (once there is one)
--          string  qc:{arena}:line:<id>: a line of that id is in the log, or was
--          stream  qc:{arena}:lines: line (JSON), images (1 when it speaks of some); an entry goes once it is in a file
--          string  qc:{arena}:writer: token of who writes the files
--          hash    qc:{arena}:votes: how many votes each model has had

local BATTLE_MS = 86400000

-- ARGV: seal. Again, it lives for another day. Answers OK, or OTHER: another battle has this id.
local function battle_open(keys, args)
  local seal = redis.call('HGET', keys[1], 'seal')
  if seal and seal ~= args[1] then return 'OTHER' end
  redis.call('HSET', keys[1], 'seal', args[1])
  redis.call('PEXPIRE', keys[1], BATTLE_MS)
  return 'OK'
end

-- ARGV: seal vote line images stream tally model... Mark, line and tally (of these models) are one step: no vote is
-- marked and not logged. Answers OK and the vote that it has: this one, or an earlier; or MISSING (never opened like this,
-- or more than a day ago).
local function battle_vote(keys, args)
  local v = redis.call('HMGET', keys[1], 'seal', 'vote')
  if v[1] ~= args[1] then return { 'MISSING' } end
  if v[2] then return { 'OK', v[2] } end
  redis.call('XADD', args[5], '*', 'line', args[3], 'images', args[4])
  redis.call('HSET', keys[1], 'vote', args[2])
  for i = 7, #args do redis.call('HINCRBY', args[6], args[i], 1) end
  return { 'OK', args[2] }
end

-- ARGV: line images stream keep_ms. The same line again is not added. Answers OK, or MEMORY: what there is is kept for
-- the answers that run, and for votes.
local function line_add(keys, args)
  if redis.call('EXISTS', keys[1]) == 1 then return 'OK' end
  if used_memory() > MEMORY then return 'MEMORY' end
  redis.call('XADD', args[3], '*', 'line', args[1], 'images', args[2])
  redis.call('SET', keys[1], '', 'PX', args[4])
  return 'OK'
end

-- ARGV: token lease_ms. Taken, or kept by who has it. Answers OK or BUSY.
local function lines_lease(keys, args)
  local holder = redis.call('GET', keys[1])
  if holder and holder ~= args[1] then return 'BUSY' end
  redis.call('SET', keys[1], args[1], 'PX', args[2])
  return 'OK'
end

-- ARGV: token. The next one need not wait for the lease to end.
local function lines_leave(keys, args)
  if redis.call('GET', keys[1]) == args[1] then redis.call('DEL', keys[1]) end
  return 'OK'
end

redis.register_function('qc1_battle_open', battle_open)
redis.register_function('qc1_battle_vote', battle_vote)
redis.register_function('qc1_line_add', line_add)
redis.register_function { function_name = 'qc1_lines_lease', callback = lines_lease, flags = { 'allow-oom' } }
redis.register_function { function_name = 'qc1_lines_leave', callback = lines_leave, flags = { 'allow-oom' } }
