with

store_days as (

    select * from {{ ref('store_days') }}

),

stores as (

    select * from {{ ref('stg_stores') }}

),

targets as (

    select * from {{ ref('stg_store_targets') }}

),

by_month as (

    select
        store_id,
        date_trunc('month', date_day)::date as date_month,
        count(*) as open_day_count,
        sum(order_count) as order_count,
        sum(revenue) as revenue,
        sum(margin) as margin,

    from store_days
    group by all

)

select
    by_month.store_id,
    stores.store_name,
    by_month.date_month,
    by_month.open_day_count,
    by_month.order_count,
    by_month.revenue,
    by_month.margin,
    targets.revenue_target,
    by_month.revenue >= targets.revenue_target as is_target_met,

from by_month
left join stores using (store_id)
left join targets using (store_id, date_month)
