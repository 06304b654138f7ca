# What compose.scaled.yaml takes from others, built from Debian's packages where no image can be pulled.
# A target for each; they take the variables, commands and signals that the others' images take.
ARG BASE
FROM ${BASE} AS packages
# RUNLEVEL keeps packages from starting services. Caches are the tests' own: the image is thrown away.
RUN apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install -yqq --no-install-recommends haproxy postgresql

FROM packages AS proxy
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]

FROM packages AS postgres
COPY postgres.sh /
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "/postgres.sh"]

FROM ${BASE} AS s3
COPY versitygw /app/
ENTRYPOINT ["/app/versitygw"]
