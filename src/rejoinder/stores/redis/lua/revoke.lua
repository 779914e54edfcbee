-- Revokes every lease whose time is over.
for _, epoch in ipairs(redis.call('ZRANGE', P .. 'expiries', '-inf', '(' .. plain(now()), 'BYSCORE')) do
  redis.call('DEL', P .. 'lease:' .. epoch)
  drop('expiries', epoch)
end
return 1
