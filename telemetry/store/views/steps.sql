-- One row per optimizer step and rank, without those that a later attempt repeated.
SELECT
    s.project,
    s.run,
    s.rank,
    s.step,
    s.attempt,
    s.wall_time,
    s.elapsed_s,
    s.loss,
    s.lr,
    s.batch_hash,
    s.samples,
    s.data_s,
    s.epoch,
    s.step_s,
    s.overhead_s,
    s.grad_norm_total,
    s.clip_coefficient,
    s.loss_scale,
    s.param_checksum,
    s.accumulation,
    s.backward_calls,
    s.root_sum,
    s.root_factor_sum,
    s.micro_grad_sumsq,
    s.stale_grad_share,
    s.sharded_grad_sumsq,
    s.scheduler_calls,
    s.flags
FROM step_norms AS s
JOIN attempts_live AS a
    ON a.project = s.project
    AND a.run = s.run
    AND a.attempt = s.attempt
WHERE a.superseded_from IS NULL
    OR s.step < a.superseded_from
