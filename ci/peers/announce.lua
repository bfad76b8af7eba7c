-- Announces of the 20 000 peers that are known, 200 of each of 100 swarms, as they are drawn; ten peers are wanted.
local questions = {}

function init()
  for r = 0, 19999 do
    local swarm, port = r % 100, 10001 + math.floor(r / 100)
    questions[r] = wrk.format("GET", string.format("/announce?info_hash=aaaaaaaaaaaaaaaaaa%02d&peer_id=bbbbbbbbbbbbbbb%05d&port=%d&uploaded=0&downloaded=0&left=9&compact=1&numwant=10", swarm, port, port))
  end
end

function request()
  return questions[math.random(0, 19999)]
end
