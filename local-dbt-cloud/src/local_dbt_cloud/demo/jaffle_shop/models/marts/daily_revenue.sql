with

store_days as (

    select * from {{ ref('store_days') }}

),

by_day as (

    select
        date_day,
        count(*) as open_store_count,
        sum(order_count) as order_count,
        sum(revenue) as revenue,

    from store_days
    group by date_day

)

select
    date_day,
    open_store_count,
    order_count,
    revenue,
    avg(revenue) over (
        order by date_day
        rows between 6 preceding and current row
    )::decimal(16, 2) as revenue_7_day_average,

from by_day
