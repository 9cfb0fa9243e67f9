-- The waiting room: whose turn is next. Tenants take turns, each in the order in which its jobs came; a tenant that is
-- alone has all of them. (Start-time fair queuing, a job counting one.)
--
-- Of each lane, beside its stream:
--   <lane>:turns         zset  tenant by the number of its next turn; the lowest that waits is next, names break ties
--   <lane>:of:<tenant>   zset  entries of the stream that wait, by when they came (ms)
--
-- A tenant that comes begins with the turn that is next, or with its own if that is later: who waits for nothing now may
-- have had more than its share a moment ago. When nobody waits, all is forgotten.

local LINE = 1000 -- tenants that are looked at in one call

local function is_bulk(stream)
  return string.sub(stream, -5) == ':bulk'
end

local function queue_of(stream, tenant)
  return stream .. ':of:' .. tenant
end

-- The tenant whose turn is next, and the number of that turn; nil when nobody waits.
local function next_tenant(stream)
  while true do
    local first = redis.call('ZRANGE', stream .. ':turns', 0, 0, 'WITHSCORES')
    if not first[1] then return nil end
    if redis.call('EXISTS', queue_of(stream, first[1])) == 1 then return first[1], tonumber(first[2]) end
    redis.call('ZREM', stream .. ':turns', first[1])
  end
end

local function line_up(stream, tenant, sid, t)
  local queue, _, turn = queue_of(stream, tenant), next_tenant(stream)
  if not redis.call('ZSCORE', stream .. ':turns', tenant) then
    redis.call('ZADD', stream .. ':turns', turn or 0, tenant)
  end
  local last = tonumber(redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2] or 0)
  redis.call('ZADD', queue, string.format('%.3f', math.max(t, last + 0.001)), sid)
end

local function leave_room(stream, tenant, sid)
  redis.call('ZREM', queue_of(stream, tenant), sid)
end

-- The stream with its group, and all that wait in it lined up: an earlier release lined up nobody.
local function ensure(p, lane)
  local stream = p .. lane
  if redis.call('EXISTS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
  elseif redis.call('EXISTS', stream .. ':turns') == 0 and waiting(stream) > 0 then
    for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+')) do
      local v = redis.call('HMGET', p .. 'job:' .. entry[2][2], 'state', 'tenant', 'queued')
      if v[1] == 'waiting' then
        line_up(stream, v[2], entry[1], tonumber(v[3]))
      elseif not v[1] then
        redis.call('XDEL', stream, entry[1])
      end
    end
  end
  return stream
end

-- Who waits: {tenant, turn, count} in any order. Of more than LINE tenants, those whose turns are next.
local function line_of(stream)
  local rows, line = redis.call('ZRANGE', stream .. ':turns', 0, LINE - 1, 'WITHSCORES'), {}
  for i = 1, #rows, 2 do
    local count = redis.call('ZCARD', queue_of(stream, rows[i]))
    if count > 0 then line[#line + 1] = { tenant = rows[i], turn = tonumber(rows[i + 1]), count = count } end
  end
  return line
end

-- As Redis breaks ties; Lua's own `<` goes by the locale.
local function precedes(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- The number of the turn that a tenant has next, or would have if it came now.
local function turn_of(stream, tenant)
  local own, _, turn = redis.call('ZSCORE', stream .. ':turns', tenant), next_tenant(stream)
  return math.max(tonumber(own or 0), turn or 0)
end

-- The place in the room (1 is next) of the job of a tenant that `ahead` of its own jobs precede.
local function place_in(line, tenant, turn, ahead)
  local place = ahead + 1
  for _, one in ipairs(line) do
    if one.tenant ~= tenant then
      local before = math.max(math.min(turn + ahead - one.turn, one.count), 0)
      if before < one.count and turn + ahead >= one.turn and precedes(one.tenant, tenant) then before = before + 1 end
      place = place + before
    end
  end
  return place
end

-- Since when (ms) the one waits who waits longest.
local function oldest_in(stream)
  local oldest
  for _, one in ipairs(line_of(stream)) do
    local came = tonumber(redis.call('ZRANGE', queue_of(stream, one.tenant), 0, 0, 'WITHSCORES')[2])
    oldest = math.min(oldest or came, came)
  end
  return oldest
end
